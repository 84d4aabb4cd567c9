# Three launches with everything materialised, two with partial states, one.
width = 900; height = 480
load 'figures/style.gnuplot'
set logscale y
set yrange [0.3:20000]
set xrange [-0.6:3.6]
set boxwidth 0.22
set style fill solid 0.85
set xtics ('1' 0, '4' 1, '16' 2, '64' 3)
set xlabel 'branches (2048 shared + 64 own tokens each)'
set ylabel 'us for one layer, cold'
set key top left reverse Left
stats data using ($3 / $5) name 'factor' nooutput
set title sprintf("Materialising costs %.0f to %.0f times; a second launch hardly anything, either way", factor_min, factor_max)
plot data using ($0 - 0.24):3 every ::1 with boxes lt 2 title 'three launches, all materialised', \
     '' using ($0):4 every ::1 with boxes lt 3 title 'two launches: partial states (step 6)', \
     '' using ($0 + 0.24):5 every ::1 with boxes lt 1 title 'one launch (step 7)', \
     '' using ($0):7 every ::1 with points lt 7 title 'floor', '' using ($0):2 every ::1 with points lt 8 title 'an empty launch'
