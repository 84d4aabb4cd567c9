# Left: mean error of scores that take back LongFlow's approximations one by one, as a multiple of random eviction's.
# Right: their worst case.
width = 1240; height = 580
load 'figures/style.gnuplot'
regimes = 'stationary stationary_slow topics topics_short'
regime_types = 'regime_1 regime_2 regime_3 regime_4'
scores = 'longflow exact_deletion exact_next horizon_16 horizon_128 horizon_1024'
# Behind each row: its mean as a multiple of random_victim's in the same regime, from that row before it.
joined = sprintf("< awk -F, '$2 == \"random_victim\" { r[$1] = $4 } !/^#/ { print $0 \",\" (r[$1] ? $4 / r[$1] : \"\") }' '%s'", data)
pick(regime, column) = strcol(1) eq regime && strcol(2) ne 'random_victim' ? column(column) : NaN
of(score, column) = strcol(2) eq score ? column(column) : NaN
stats joined using (abs($6 / of('longflow', 6))) every ::1 name 'any' nooutput
stats joined using (of('longflow', 6)) every ::1 name 'longflow' nooutput
stats joined using (of('exact_next', 6)) every ::1 name 'next' nooutput
stats joined using (of('horizon_1024', 6)) every ::1 name 'far' nooutput
set multiplot layout 1,2 margins 0.065,0.98,0.2,0.86 spacing 0.075,0.1
set xrange [0.7:6.3]
set xtics ("LongFlow,\nthis query" 1, "exact,\nthis query" 2, "exact,\nnext query" 3, "exact,\n16 ahead" 4, "exact,\n128 ahead" 5, "exact,\n1024 ahead" 6)
set yrange [0:1.3]
set ytics 0.2
set key bottom left reverse Left
set label 1 'policies' at 1.5, graph -0.2 center
set label 2 'oracles: they know queries to come' at 4.5, graph -0.2 center
set title sprintf("Mean error as a multiple of random eviction's, over the regimes:\nLongFlow %.2f, the true next query %.2f, 1024 steps ahead %.2f", longflow_mean, next_mean, far_mean)
plot 1 with lines lt floor_line title 'random eviction', \
     for [n = 1:words(regimes)] joined using 3:(pick(word(regimes, n), 6)) with linespoints lt value(word(regime_types, n)) title word(regimes, n)
unset key
set yrange [0:1.6]
set title "Worst error of any token:\nan answer of zeros has 1"
plot 1 with lines lt dram_line title 'an answer of zeros', \
     for [n = 1:words(regimes)] joined using 3:(pick(word(regimes, n), 5)) with linespoints lt value(word(regime_types, n)) title word(regimes, n)
unset multiplot
