# Output error against budget, a column for each regime: the mean above, the worst case below.
width = 1340; height = 760
load 'figures/style.gnuplot'
policies = 'random sink_window h2o vatp rkv current_mass exact_deletion longflow' # the last is drawn on top
regimes = 'stationary stationary_slow topics topics_slow topics_short'
what(n) = word("'one topic|queries drift in 100 steps' 'one topic, sharp|drift in 1000 steps' 'topics of 256 tokens|drift in 20 steps' 'topics of 256, sharp|drift in 100 steps' 'topics of 64, sharp|drift in 1000 steps'", n)
pick(regime, policy, column) = strcol(1) eq regime && strcol(2) eq policy ? column(column) : NaN
# How often LongFlow's mean is below random's: rows of one regime and budget are far apart, so awk joins them.
won = system(sprintf("awk -F, '$2 == \"random\" { r[$1, $3] = $4 } $2 == \"longflow\" { n++; won += $4 < r[$1, $3] } END { print won }' '%s'", data))
all = system(sprintf("grep -c ',longflow,' '%s'", data))
stats data using (strcol(2) eq 'longflow' ? $5 : NaN) every ::1 name 'worst' nooutput
set multiplot title sprintf("LongFlow has a smaller mean error than random eviction in %s of %s cases; its worst case reaches %.2f, and an answer of zeros has 1", won, all, worst_max) font ',15' offset 0,-0.3
set logscale x 2
set logscale y 10
set xtics ('128' 128, '256' 256, '512' 512, '1024' 1024)
set xrange [110:1200]
set grid
unset key
left = 0.06; width_of_one = 0.172; gap = 0.0175
do for [row = 1:2] {
    set tmargin at screen (row == 1 ? 0.815 : 0.4); set bmargin at screen (row == 1 ? 0.46 : 0.09)
    set yrange [0.02:2]
    set ytics ('0.02' 0.02, '0.05' 0.05, '0.1' 0.1, '0.2' 0.2, '0.5' 0.5, '1' 1, '2' 2)
    do for [n = 1:words(regimes)] {
        set lmargin at screen left + (n - 1) * (width_of_one + gap)
        set rmargin at screen left + (n - 1) * (width_of_one + gap) + width_of_one
        set ylabel (n == 1 ? (row == 1 ? 'mean error' : 'worst error') : '')
        if (n > 1) { set format y '' } else { set format y '%g' }
        set xlabel (row == 2 ? 'budget, tokens' : '')
        if (row == 1) { set title sprintf("%s\n%s", word(regimes, n), what(n)) font ',12' } else { unset title }
        plot 1 with lines lt floor_line notitle, \
             for [p = 1:words(policies)] data using 3:(pick(word(regimes, n), word(policies, p), row + 3)) with linespoints lt value(word(policies, p)) title word(policies, p)
    }
}
unset multiplot
