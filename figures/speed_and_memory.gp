# Time and memory of K and V copied for each branch, of shared blocks read per branch, and of one pass for all branches.
width = 1240; height = 540
load 'figures/style.gnuplot'
stats data using 2 name 'standard' nooutput
stats data using 4 name 'tree' nooutput
stats data using 3 name 'sequence' nooutput
stats data using 6 name 'copied_mib' nooutput
stats data using 7 name 'shared_mib' nooutput
stats data using 1 name 'branches' nooutput
set multiplot layout 1,2 margins 0.085,0.985,0.125,0.87 spacing 0.1,0.1
set logscale x 2
set logscale y 10
set xtics ('1' 1, '16' 16, '64' 64, '128' 128, '256' 256)
set xrange [0.8:320]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set key top left reverse Left
set ylabel 'us for one layer, cold L2' offset 1
set yrange [2:100000]
set title sprintf("%.0f branches: one pass for all branches is %.1f times faster than\nper-branch reading, %.0f times than copied and unfused", branches_max, sequence_max / tree_max, standard_max / tree_max)
plot data using 1:2 with linespoints lt copied title 'copied, three launches (standard attention)', \
     '' using 1:3 with linespoints lt radix title 'per-branch reading of shared blocks (plan radix)', \
     '' using 1:4 with linespoints lt cost title 'one pass for all branches (plan cost)', \
     '' using 1:5 with lines lt floor_line title 'floor'
set ylabel 'MiB of K and V of one layer'
set yrange [5:10000]
set title sprintf("%.0f branches: %.1f %% less memory\n ", branches_max, 100 * (1 - shared_mib_max / copied_mib_max))
plot data using 1:6 with linespoints lt copied title 'copied for each branch', '' using 1:7 with linespoints lt cost title 'shared blocks'
unset multiplot
