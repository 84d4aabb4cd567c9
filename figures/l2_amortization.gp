# Bandwidth by each of the three byte counts, against branches: what the cache does, and what grouping does.
width = 1200; height = 520
load 'figures/style.gnuplot'
set multiplot layout 1,2 margins 0.07,0.985,0.13,0.85 spacing 0.08,0.1
set logscale x 2
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128, '256' 256)
set xrange [0.9:290]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set ylabel 'GB/s'
set logscale y
set yrange [0.02:60000]
set key bottom right opaque
do for [i = 1:2] {
    first = 18 * (i - 1) + 1 # row 0 is the heading; every second row is cold
    stats data using ($5 / $4 / 1000) every 2::first::(first + 16) name 'effective' nooutput
    stats data using 9 every 2::first::(first + 16) name 'hits' nooutput
    set title i == 1 ? sprintf("A pass a branch: most bytes come out of the L2 cache,\nwhich answers up to %.0f %% of all reads", hits_max) \
                     : sprintf("One pass for all: effective bandwidth up to %.1f times the\nmemory's, for most of what is asked for is never loaded", effective_max / 4550)
    plot data using 2:($5 / $4 / 1000) every 2::first::(first + 16) with linespoints lt 1 title 'logical_bytes / time: effective', \
         '' using 2:($6 / $4 / 1000) every 2::first::(first + 16) with linespoints lt 3 title 'plan_bytes / time', \
         '' using 2:($8 / $4 / 1000) every 2::first::(first + 16) with linespoints lt 2 title 'dram_bytes / time', \
         '' using 2:($8 / $4 < 10000 ? NaN : $8 / $4 / 1000) every 2::(first + 1)::(first + 17) with linespoints lt 5 title 'the same, warm', \
         4550 with lines lt 7 title 'read of memory, 4.55 TB/s', 5700 with lines lt 6 title 'read of L2, 5.7 TB/s'
}
unset multiplot
