# Effective bandwidth against branches: one pass a branch over shared blocks, and one pass for all.
width = 1200; height = 500
load 'figures/style.gnuplot'
# Rows take turns: flash is every second one from the first, cost from the second; row 0 is the heading.
stats data using 3 every 2::1 name 'flash_us' nooutput
stats data using 3 every 2::2 name 'cost_us' nooutput
set logscale x 2
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128)
set xrange [0.9:145]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set multiplot layout 1,2 margins 0.07,0.985,0.13,0.86 spacing 0.1,0.1
set key top left reverse Left opaque
set ylabel 'GB/s'
set yrange [0:330]
set title "What the branches ask for a second: the cache carries\na pass a branch, grouping carries one pass for all"
plot data using 2:4 every 2::2 with linespoints lt 1 title 'one pass for all: logical_bytes / time', \
     '' using 2:4 every 2::1 with linespoints lt 2 title 'a pass a branch: logical_bytes / time', \
     '' using 2:6 every 2::1 with linespoints lt 8 title 'a pass a branch: unique bytes / time', \
     '' using 2:8 every 2::1 with lines lt 6 title 'measured read of the prefix, cached', \
     '' using 2:7 every 2::1 with lines lt 7 title 'measured read of memory'
set ylabel 'ms for a step'
set logscale y
set yrange [0.1:100]
set title sprintf("High effective bandwidth is no speed: at 128 branches\none pass for all takes %.1f ms, a pass a branch %.1f ms", cost_us_max / 1000, flash_us_max / 1000)
plot data using 2:($3 / 1000) every 2::1 with linespoints lt 2 title 'a pass a branch (plan flash)', \
     '' using 2:($3 / 1000) every 2::2 with linespoints lt 1 title 'one pass for all (plan cost)'
unset multiplot
