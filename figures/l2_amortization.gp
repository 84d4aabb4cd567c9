# Bandwidth by each of the three byte counts, against branches: what the cache does, and what grouping does.
width = 1240; height = 560
load 'figures/style.gnuplot'
dram = ceiling('dram_gbps'); l2 = ceiling('l2_gbps')
set multiplot layout 1,2 margins 0.075,0.985,0.285,0.88 spacing 0.085,0.1
set logscale x 2
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128, '256' 256)
set xrange [0.9:290]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set ylabel 'GB/s, cold L2'
set logscale y
set ytics ('100' 100, '300' 300, '1000' 1000, '3000' 3000, '10000' 10000, '30000' 30000)
set key outside bottom center vertical maxrows 3 reverse Left
lines_of(i) = i == 1 ? radix : cost
do for [i = 1:2] {
    set autoscale y # a range would hide rows from stats
    first = 18 * (i - 1) + 1 # row 0 is the heading; every second row is cold
    stats data using ($5 / $4 / 1000) every 2::first::(first + 16) name 'effective' nooutput
    stats data using 9 every 2::first::(first + 16) name 'hits' nooutput
    set yrange [100:60000]
    set title i == 1 ? sprintf("Per-branch reading (plan radix): the L2 cache\nserves up to %.0f %% of the reads", hits_max) \
                     : sprintf("One pass for all branches (plan cost): effective bandwidth\nup to %.1f times the memory's, most bytes never loaded", effective_max / dram)
    plot data using 2:($5 / $4 / 1000) every 2::first::(first + 16) with linespoints lt lines_of(i) dt 1 title 'effective: logical_bytes / time', \
         '' using 2:($6 / $4 / 1000) every 2::first::(first + 16) with linespoints lt lines_of(i) dt (8,5) pt 4 ps 1.3 title 'plan_bytes / time', \
         '' using 2:($8 / $4 / 1000) every 2::first::(first + 16) with linespoints lt lines_of(i) dt (2,3) pt 1 title 'dram_bytes / time', \
         l2 with lines lt l2_line title sprintf('read of L2, %.1f TB/s', l2 / 1000), \
         dram with lines lt dram_line title sprintf('read of memory, %.2f TB/s', dram / 1000)
}
unset multiplot
