# The seed's table measured again: time and memory of copied, shared and tree.
width = 1150; height = 500
load 'figures/style.gnuplot'
stats data using 2 name 'standard' nooutput
stats data using 4 name 'tree' nooutput
stats data using 3 name 'sequence' nooutput
stats data using 6 name 'copied' nooutput
stats data using 7 name 'shared' nooutput
set multiplot layout 1,2 margins 0.08,0.985,0.13,0.85 spacing 0.11,0.1
set logscale xy 2
set logscale y 10
set xtics ('1' 1, '16' 16, '64' 64, '128' 128, '256' 256)
set xrange [0.8:320]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set key top left reverse Left
set ylabel 'us for one layer, cold'
set title sprintf("256 branches: %.0f times faster than copied and unfused,\n%.1f times faster than a pass a branch", standard_max / tree_max, sequence_max / tree_max)
plot data using 1:2 with linespoints lt 2 title 'standard: copied, three launches', '' using 1:3 with linespoints lt 3 title 'a pass a branch, shared blocks', \
     '' using 1:4 with linespoints lt 1 title 'tree', '' using 1:5 with lines lt 7 title 'floor'
set ylabel 'MiB of K and V of one layer'
set title sprintf("%.1f %% less memory at 256 branches\n ", 100 * (1 - shared_max / copied_max))
plot data using 1:6 with linespoints lt 2 title 'copied for each branch', '' using 1:7 with linespoints lt 1 title 'shared blocks'
unset multiplot
