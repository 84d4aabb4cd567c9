# Three launches with everything materialised, two with partial states, one.
width = 960; height = 540; slide_type = 1.25
load 'figures/style.gnuplot'
stats data using ($3 / $5) name 'factor' nooutput
stats data using (100 * (1 - $5 / $4)) name 'saved' nooutput
set logscale y
set yrange [0.3:60000]
set ytics ('1' 1, '10' 10, '100' 100, '1000' 1000)
set xrange [-0.6:3.6]
set boxwidth 0.22
set style fill solid 1.0 noborder
set errorbars 0
set xtics scale 0 ('1' 0, '4' 1, '16' 2, '64' 3)
set xlabel 'branches (2048 shared + 64 own tokens each)'
set ylabel 'us for one layer, cold L2'
set key top left reverse Left maxrows 3 width -3
set title sprintf("Materialising everything takes %.0f to %.0f times as long as one launch;\nthe second launch costs at most %.0f %%", factor_min, factor_max, saved_max)
plot data using ($0 - 0.24):3 every ::1 with boxes lt copied title 'three launches, all materialised', \
     '' using ($0):4 every ::1 with boxes lt 23 title 'two launches: partial states (merge ahead)', \
     '' using ($0 + 0.24):5 every ::1 with boxes lt 22 title 'one launch', \
     '' using ($0):7:(0.36) every ::1 with xerrorbars lt floor_line dt 1 ps 0 lw 3 title 'floor', \
     '' using ($0):2:(0.36) every ::1 with xerrorbars lt floor_line dt (3,3) ps 0 lw 3 title 'an empty launch'
