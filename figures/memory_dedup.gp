# Memory of the KV cache, copied per branch and shared: over branches, and over the iterations of searches.
width = 1240; height = 470
load 'figures/style.gnuplot'
GiB = 2.0**30
pick(series, column) = strcol(1) eq series ? column(column) : NaN
stats data using (pick('branches', 7)) name 'saved' nooutput
stats data using (pick('branches', 2)) name 'branches' nooutput
stats data using (pick('game_of_24', 4)) name 'game_shared' nooutput
stats data using (pick('game_of_24', 3)) name 'game_copied' nooutput
stats data using (pick('sorting_t0', 4)) name 'sorting_shared' nooutput
stats data using (pick('sorting_t0', 3)) name 'sorting_copied' nooutput
set multiplot layout 1,3 margins 0.06,0.975,0.15,0.86 spacing 0.06,0.1
set ylabel 'KV cache, GiB'
set yrange [0.1:200]
set logscale y
set key top left reverse Left
set title sprintf("%.0f branches with one prefix of 2048 tokens:\nsharing saves %.1f %% of the memory", branches_max, saved_max)
set xlabel 'branches (64 own tokens each)'
set logscale x 2
set xtics ('1' 1, '4' 4, '16' 16, '64' 64, '256' 256)
set xrange [0.8:320]
plot data using (pick('branches', 2)):($5/GiB) with linespoints lt copied title 'copied for each branch', \
     '' using (pick('branches', 2)):($6/GiB) with linespoints lt cost title 'shared blocks'
unset logscale
unset ylabel
set xtics auto
set xrange [*:*]
set key top left
set xlabel 'iteration'
set yrange [0:*]
set title sprintf("Game of 24, breadth-first search:\npeak %.0f blocks instead of %.0f", game_shared_max, game_copied_max)
plot data using (pick('game_of_24', 2)):($5/GiB) with lines lt copied title 'copied for each branch', \
     '' using (pick('game_of_24', 2)):($6/GiB) with lines lt cost title 'shared blocks'
set xtics 1000
set title sprintf("A recorded search (sorting, tree 0):\npeak %.0f blocks instead of %.0f", sorting_shared_max, sorting_copied_max)
plot data using (pick('sorting_t0', 2)):($5/GiB) with lines lt copied title 'copied for each branch', \
     '' using (pick('sorting_t0', 2)):($6/GiB) with lines lt cost title 'shared blocks'
unset multiplot
