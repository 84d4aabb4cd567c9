# Output error against budget, a column for each regime: above, the mean as a multiple of random eviction's; below, the
# worst case.
width = 1340; height = 830
load 'figures/style.gnuplot'
policies = 'random_victim random sink_window snapkv h2o vatp rkv longflow current_mass exact_deletion longflow_l2' # the last is drawn on top
regimes = 'stationary stationary_slow topics topics_slow topics_short'
# '# topics: 16 topics, 256 tokens each; rho 0.95, scale 2', in two lines
description(regime) = system(sprintf("sed -n 's/^# %s: //p' '%s' | tr ';' '\\n'", regime, data))
# Behind each row: its mean as a multiple of random_victim's in the same regime and budget, from that row before it.
joined = sprintf("< awk -F, '$2 == \"random_victim\" { r[$1, $3] = $4 } !/^#/ { print $0 \",\" (r[$1, $3] ? $4 / r[$1, $3] : \"\") }' '%s'", data)
pick(regime, policy, column) = strcol(1) eq regime && strcol(2) eq policy ? column(column) : NaN
ratio_column = 8
stats joined using (strcol(2) eq 'longflow' ? column(ratio_column) : NaN) every ::1 name 'cases' nooutput
stats joined using (strcol(2) eq 'longflow' && column(ratio_column) < 1 ? 1 : NaN) every ::1 name 'won' nooutput
stats data using (strcol(2) eq 'longflow' ? $5 : NaN) every ::1 name 'worst' nooutput
stats data using (strcol(2) eq 'h2o' ? $5 : NaN) every ::1 name 'h2o_worst' nooutput
set multiplot title sprintf("LongFlow's mean error is below that of random eviction in %.0f of %.0f cases;\nits worst case reaches %.2f and that of H2O %.2f, where an answer of zeros has 1", won_records, cases_records, worst_max, h2o_worst_max) font ',15' offset 0,-0.4
# the key, above all panels
set lmargin at screen 0.02; set rmargin at screen 0.98; set tmargin at screen 0.935; set bmargin at screen 0.875
unset border; unset tics; set yrange [0:1]; set xrange [0:1]
set key center center horizontal reverse Left samplen 3 width 1.5
plot for [p = 1:words(policies)] NaN with linespoints lt value(word(policies, p)) title word(policies, p)
unset key
set border 3 lc rgb '#000000'
set tics out nomirror; set ytics nomirror
set logscale x 2
set xtics nomirror ('128' 128, '256' 256, '512' 512, '1024' 1024)
set xrange [105:1250]
set yrange [0:2]
set ytics 0.5
left = 0.062; panel = 0.174; gap = 0.0125
do for [row = 1:2] {
    set tmargin at screen (row == 1 ? 0.79 : 0.4); set bmargin at screen (row == 1 ? 0.445 : 0.095)
        set label 1 (row == 1 ? 'mean error / that of random_victim' : 'worst error') at screen 0.017, screen (row == 1 ? 0.61 : 0.25) rotate center
    set label 2 (row == 1 ? '' : 'budget, tokens') at screen 0.525, screen 0.025 center
    set label 3 (row == 1 ? 'of random_victim:' : '') at 115,0.27 font ',11'
    do for [n = 1:words(regimes)] {
        regime = word(regimes, n)
        set lmargin at screen left + (n - 1) * (panel + gap)
        set rmargin at screen left + (n - 1) * (panel + gap) + panel
        if (n > 1) { set format y '' } else { set format y '%.1f' }
        if (row == 1) { set title sprintf("%s\n%s", regime, description(regime)) font ',12' } else { unset title }
        plot for [p = 1:words(policies)] joined using 3:(pick(regime, word(policies, p), row == 1 ? ratio_column : 5)) with linespoints lt value(word(policies, p)), \
             joined using (row == 1 && strcol(1) eq regime && strcol(2) eq 'random_victim' ? $3 : NaN):(0.1):(sprintf('%.2f', $4)) with labels font ',11'
        unset label
    }
}
unset multiplot
