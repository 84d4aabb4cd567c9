# Left: time of some calls over the size of what they read and write. Right: the exponents of all series.
width = 1240; height = 1180
load 'figures/style.gnuplot'
series(call, input) = strcol(1) eq call && strcol(2) eq input ? $6 : NaN
stats data using 7 name 'steps' nooutput
stats data using 8 name 'time' nooutput
set multiplot
set lmargin at screen 0.065; set rmargin at screen 0.47; set bmargin at screen 0.065; set tmargin at screen 0.955
set title 'Time of a call: linear if parallel to the grey lines'
set logscale xy
set xlabel 'size: the quantity in which the header says the cost is linear'
set ylabel 'ms of processor time, while steps are counted'
set format x '10^{%T}'; set format y '10^{%T}'
set termoption enhanced
set xrange [8e2:8e7]
set yrange [0.02:5000]
set key bottom right reverse Left
plot x*1e-5 with lines lc rgb '#bbbbbb' dt 1 lw 1.5 notitle, x*1e-4 with lines lc rgb '#bbbbbb' dt 1 lw 1.5 notitle, x*1e-3 with lines lc rgb '#bbbbbb' dt 1 lw 1.5 notitle, \
     data using 4:(series('fork_at and prune', 'mixed lengths')) with linespoints lt others pt 6 title 'fork_at, n times, in one block', \
     '' using 4:(series('kv_tree_build', 'n tables')) with linespoints lt radix pt 8 title 'kv_tree_build, n tables', \
     '' using 4:(series('kv_tree_check', 'chain')) with linespoints lt flatten pt 4 title 'kv_tree_check, chain of drafts', \
     '' using 4:(series('replay', 'chain of n nodes')) with linespoints lt tree_mask pt 14 title 'replay, chain of n nodes', \
     '' using 4:(series('plan cost', 'star')) with linespoints lt cost title 'plan cost, star of drafts', \
     '' using 4:(series('plan cost', 'chain')) with linespoints lt 22 title 'plan cost, chain of drafts', \
     '' using 4:(series('queue cost', 'star')) with linespoints lt node_chunk pt 12 title 'queue, star of drafts'
set lmargin at screen 0.72; set rmargin at screen 0.975
unset logscale
set title sprintf("Exponents of %.0f series: steps at most %.2f,\ntime at most %.2f", steps_records, steps_max, time_max)
set termoption noenhanced
set xlabel 'exponent of the steps and of the time'
unset ylabel
set format x '%.1f'
set xrange [0.8:1.3]
set yrange [steps_records:-1]
set ytics scale 0 font ',9'
set grid noytics
set key bottom right opaque
set arrow from 1.1, graph 0 to 1.1, graph 1 nohead lc rgb '#000000' dt 2 lw 1
set label 'limit of the steps' at 1.105, graph 0.985
# only the last row of a series has exponents: the others are left out before they are counted
table = sprintf("< grep -v '^#' '%s' | tail -n +2 | grep -v ',$'", data)
plot table using 7:0:ytic(strcol(1).', '.strcol(2)) with points lt cost ps 0.7 title 'steps', \
     '' using 8:0 with points pt 6 ps 0.9 lw 1.3 lc rgb '#c62828' title 'time'
unset multiplot
