# Left: time of some calls over the size of what they read and write. Right: the exponents of all series.
width = 1200; height = 1150
load 'figures/style.gnuplot'
series(call, input) = strcol(1) eq call && strcol(2) eq input ? $6 : NaN
stats data using 7 name 'steps' nooutput
set multiplot
set lmargin at screen 0.065; set rmargin at screen 0.47; set bmargin at screen 0.065; set tmargin at screen 0.955
set title 'Time of a call: parallel to the grey lines is linear'
set logscale xy
set xlabel 'size: what the header says that the cost is linear in'
set ylabel 'ms (processor, steps counted)'
set format x '10^{%T}'; set format y '10^{%T}'
set termoption enhanced
set xrange [8e2:8e7]
set yrange [0.02:5000]
set key bottom right reverse Left
plot x*1e-5 with lines lt 8 dt 3 lw 1 notitle, x*1e-4 with lines lt 8 dt 3 lw 1 notitle, x*1e-3 with lines lt 8 dt 3 lw 1 notitle, \
     data using 4:(series('fork_at and prune', 'mixed lengths')) with linespoints lt 1 title 'fork_at, n times, in one block', \
     '' using 4:(series('kv_tree_build', 'n tables')) with linespoints lt 2 title 'kv_tree_build, n tables', \
     '' using 4:(series('kv_tree_check', 'chain')) with linespoints lt 3 title 'kv_tree_check, chain of drafts', \
     '' using 4:(series('replay', 'chain of n nodes')) with linespoints lt 4 title 'replay, chain of n nodes', \
     '' using 4:(series('plan cost', 'star')) with linespoints lt 5 title 'plan cost, star of drafts', \
     '' using 4:(series('plan cost', 'chain')) with linespoints lt 6 title 'plan cost, chain of drafts', \
     '' using 4:(series('queue cost', 'star')) with linespoints lt 7 title 'queue, star of drafts'
set lmargin at screen 0.72; set rmargin at screen 0.975
unset logscale
set title sprintf("Exponents of %.0f series: at most %.2f", steps_records, steps_max)
set termoption noenhanced
set xlabel 'exponent of steps (points) and of time (rings)'
unset ylabel
set format x '%.1f'
set xrange [0.8:1.3]
set yrange [steps_records:-1]
set ytics scale 0 font ',9'
set grid noytics
set key off
set arrow from 1.1, graph 0 to 1.1, graph 1 nohead lc rgb '#000000' dt 2 lw 1
set label '1.1' at 1.105, graph 0.985
# only the last row of a series has exponents: the others are left out before they are counted
table = sprintf("< grep -v '^#' '%s' | tail -n +2 | grep -v ',$'", data)
plot table using 7:0:ytic(strcol(1).', '.strcol(2)) with points lt 1 ps 0.7, \
     '' using 8:0 with points lt 2 pt 6 ps 0.8 lw 1.2
unset multiplot
