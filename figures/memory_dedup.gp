# Memory of the KV cache, copied per branch and shared: over branches, and over the iterations of searches.
width = 1200; height = 440
load 'figures/style.gnuplot'
GiB = 2.0**30
pick(series, column) = strcol(1) eq series ? column(column) : NaN
stats data using (pick('branches', 7)) name 'saved' nooutput
stats data using (pick('branches', 2)) name 'branches' nooutput
stats data using (pick('game_of_24', 4)) name 'game_shared' nooutput
stats data using (pick('game_of_24', 3)) name 'game_copied' nooutput
num_panels = system(sprintf("grep -c '^sorting_t0,1,' '%s'", data)) > 0 ? 3 : 2
set multiplot layout 1,num_panels margins 0.06,0.975,0.16,0.86 spacing 0.065,0.1
set ylabel 'KV cache, GiB'
set yrange [0.1:200]
set logscale y
set key top left reverse Left
set title sprintf("%.0f branches, one prefix of 2048 tokens:\n%.1f %% of the memory is saved", branches_max, saved_max)
set xlabel 'branches (64 tokens of their own each)'
set logscale x 2
plot data using (pick('branches', 2)):($5/GiB) with linespoints lt 2 title 'copied per branch', \
     '' using (pick('branches', 2)):($6/GiB) with linespoints lt 1 title 'shared blocks'
unset logscale
unset ylabel
set key top left
set xlabel 'iteration'
set yrange [0:*]
set title sprintf("Game of 24, breadth-first search: peak\n%.0f blocks instead of %.0f", game_shared_max, game_copied_max)
plot data using (pick('game_of_24', 2)):($5/GiB) with lines lt 2 title 'copied per branch', \
     '' using (pick('game_of_24', 2)):($6/GiB) with lines lt 1 title 'shared blocks'
if (num_panels == 3) {
    stats data using (pick('sorting_t0', 4)) name 'sorting_shared' nooutput
    stats data using (pick('sorting_t0', 3)) name 'sorting_copied' nooutput
    set title sprintf("A recorded search (sorting, tree 0): peak\n%.0f blocks instead of %.0f", sorting_shared_max, sorting_copied_max)
    plot data using (pick('sorting_t0', 2)):($5/GiB) with lines lt 2 title 'copied per branch', \
         '' using (pick('sorting_t0', 2)):($6/GiB) with lines lt 1 title 'shared blocks'
}
unset multiplot
