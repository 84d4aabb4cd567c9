# Left: effective bandwidth against branches. Right: the same points against their distance from the memory's floor.
width = 1240; height = 540
load 'figures/style.gnuplot'
# Plans alternate: flash has every second row from the first, cost from the second; row 0 is the heading.
over_floor(unique, memory) = memory / unique # time / time of reading each token once
stats data using ($2 == 64 ? $4 : NaN) every 2::1 name 'a' nooutput
stats data using ($2 == 64 ? over_floor($6, $7) : NaN) every 2::1 name 'a_floor' nooutput
stats data using ($2 == 2 ? $4 : NaN) every 2::2 name 'b' nooutput
stats data using ($2 == 2 ? over_floor($6, $7) : NaN) every 2::2 name 'b_floor' nooutput
set logscale x 2
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128)
set xrange [0.9:145]
set xlabel 'branches (2048 shared + 64 own tokens each)'
set multiplot layout 1,2 margins 0.065,0.985,0.125,0.87 spacing 0.085,0.1
set key top left reverse Left opaque
set ylabel 'GB/s'
set yrange [0:330]
set title "The cache lifts per-branch reading above the memory's rate;\none pass for all branches needs no cache for it"
plot data using 2:4 every 2::2 with linespoints lt cost title 'one pass for all branches (plan cost): logical_bytes / time', \
     '' using 2:4 every 2::1 with linespoints lt flash title 'per-branch reading (plan flash): logical_bytes / time', \
     '' using 2:6 every 2::1 with linespoints lt flash dt (2,4) pt 6 title 'per-branch reading: unique bytes / time', \
     '' using 2:8 every 2::1 with lines lt l2_line title 'read of the prefix from the cache, measured', \
     '' using 2:7 every 2::1 with lines lt dram_line title 'read of memory, measured'
unset logscale
set logscale y
set key top right reverse Left opaque
set xrange [0:175]
set xtics 25
set yrange [0.9:40]
set ytics (1, 2, 4, 8, 16, 32)
set xlabel 'effective bandwidth: logical_bytes / time, GB/s'
set ylabel 'time / time of reading each token once'
set title sprintf("%.0f GB/s at %.0f times the floor, %.0f GB/s at %.1f times:\nhigher effective bandwidth is not nearer to the floor", a_max, a_floor_max, b_max, b_floor_max)
plot data using 4:(over_floor($6, $7)) every 2::2 with linespoints lt cost title 'one pass for all branches', \
     '' using 4:(over_floor($6, $7)) every 2::1 with linespoints lt flash title 'per-branch reading', \
     '' using 4:(over_floor($6, $7)):2 every 2::2 with labels offset 1.4,-0.6 font ',11' notitle, \
     '' using 4:(over_floor($6, $7)):2 every 2::1 with labels offset -1.4,0.4 font ',11' notitle, \
     1 with lines lt floor_line title 'floor', \
     '+' using (a_max):(a_floor_max) every ::::0 with points pt 6 ps 3 lw 2 lc rgb '#000000' notitle, \
     '+' using (b_max):(b_floor_max) every ::::0 with points pt 6 ps 3 lw 2 lc rgb '#000000' notitle
unset multiplot
