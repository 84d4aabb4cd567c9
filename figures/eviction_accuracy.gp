# Card sets solved against the budget, a line for each policy: left the written-out search, right the tree of thoughts.
width = 1340; height = 640
load 'figures/style.gnuplot'
with_bars = 'random sink_window rkv h2o longflow' # the last is drawn on top
without_bars = 'vatp current_mass exact_deletion longflow_l2' # near longflow: without bars, which are in the csv
pick(way, policy, kept, column) = strcol(1) eq way && strcol(2) eq policy && strcol(3) eq kept ? column(column) : NaN
share_of(way, policy, percent) = strcol(1) eq way && strcol(2) eq policy && strcol(3) eq 'all' && column(4) == percent ? 100 * column(8) : NaN
stats data using (share_of('written', 'full', 100)) every ::1 name 'full_w' nooutput
stats data using (share_of('tree', 'full', 100)) every ::1 name 'full_t' nooutput
stats data using (share_of('written', 'longflow', 50)) every ::1 name 'half_w' nooutput
stats data using (share_of('tree', 'longflow', 50)) every ::1 name 'half_t' nooutput
set multiplot
# the key, above both panels
set lmargin at screen 0.02; set rmargin at screen 0.98; set tmargin at screen 0.99; set bmargin at screen 0.885
unset border; unset tics; set yrange [0:1]; set xrange [0:1]
set key center center horizontal reverse Left samplen 3 width 1.5 maxrows 2
plot for [p = 1:words(with_bars)] NaN with linespoints lt value(word(with_bars, p)) title word(with_bars, p), \
     for [p = 1:words(without_bars)] NaN with lines lt value(word(without_bars, p)) title word(without_bars, p), \
     NaN with linespoints lt 22 title 'longflow, each layer by itself', \
     NaN with linespoints lt others title 'stop when full', \
     NaN with lines lt floor_line title 'nothing forgotten'
unset key
set border 3 lc rgb '#000000'
set tics out nomirror
set xrange [7:103]
set yrange [0:100]
set xtics nomirror (10, 20, 30, 50, 70, 100)
set ytics nomirror 20
set xlabel 'budget, % of the longest search with nothing forgotten'
set tmargin at screen 0.78; set bmargin at screen 0.115
set lmargin at screen 0.055; set rmargin at screen 0.515
set ylabel 'card sets solved, %'
set title sprintf("Written-out search: with half of the cache\nLongFlow solves %.0f %%, and %.0f %% with nothing forgotten", half_w_max, full_w_max)
dodge(p) = (p - 3) * 0.6
plot full_w_max with lines lt floor_line, \
     data using (pick('written', 'stop', 'all', 4)):(100 * $8) with linespoints lt others, \
     for [p = 1:words(without_bars)] data using (pick('written', word(without_bars, p), 'all', 4)):(100 * $8) with lines lt value(word(without_bars, p)), \
     for [p = 1:words(with_bars)] data using (pick('written', word(with_bars, p), 'all', 4) + dodge(p)):(100 * $8):(100 * $9):(100 * $10) with yerrorlines lt value(word(with_bars, p)), \
     data using (pick('written', 'longflow', 'layer', 4) + dodge(6)):(100 * $8):(100 * $9):(100 * $10) with yerrorlines lt 22
set lmargin at screen 0.565; set rmargin at screen 0.985
set xrange [5:80]
set xtics nomirror (10, 25, 50, 75)
set xlabel 'budget, % of the longest branch with nothing forgotten'
unset ylabel
set title sprintf("Tree of thoughts: with half of the cache\nLongFlow solves %.0f %%, and %.0f %% with nothing forgotten", half_t_max, full_t_max)
plot full_t_max with lines lt floor_line, \
     for [p = 1:words(without_bars)] data using (pick('tree', word(without_bars, p), 'all', 4)):(100 * $8) with lines lt value(word(without_bars, p)), \
     for [p = 1:words(with_bars)] data using (pick('tree', word(with_bars, p), 'all', 4) + dodge(p)):(100 * $8):(100 * $9):(100 * $10) with yerrorlines lt value(word(with_bars, p))
unset multiplot
