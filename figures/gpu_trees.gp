# Score of the last rung on each tree, beside the best of others, at three head counts. Others were measured on an H200:
# a csv of another GPU is drawn without them.
width = 1340; height = 760
load 'figures/style.gnuplot'
# The rows of both files are in the same order: tree, our score, the best peer's score. Names may have commas, so columns are
# counted behind them: f[7] is cold_us and f[9] floor_us.
same_gpu = system("grep -c '^# device: NVIDIA H200,' '".data."' || true") > 0
both = "< awk -F, '!/^#/ && !/^tree/ { if (FNR == NR) p[++n] = $NF; else { i++; split($0, q, \"\\\"\"); split(q[3], f, \",\"); print \"\\\"\" q[2] \"\\\",\" f[9] / f[7] \",\" (p[i] ? f[9] / p[i] : 0) } }' docs/peers_h200.csv '".data."'"
set multiplot layout 1,3 margins 0.13,0.985,0.1,0.87 spacing 0.015,0.1
set xtics 0.2
set xlabel 'floor / time (1: the floor)'
set key bottom right opaque
stats both using 2 nooutput
num_trees = STATS_records / 3
heads = '32 32 16'; kv = '8 32 1'
do for [i = 1:3] {
    first = num_trees * (i - 1); last = first + num_trees - 1
    ours = 0; theirs = 0; wins = 0
    set autoscale # the ranges of a plot would hide points from stats
    stats both using (ours = ours + log($2), theirs = theirs + (same_gpu ? log($3) : 0), wins = wins + ($2 > $3), $2) every ::first::last nooutput
    set yrange [num_trees - 0.3:-0.7]
    set xrange [0:1.06]
    title_ours = sprintf("%s query heads, %s KV heads\nmean %.2f", word(heads, i), word(kv, i), exp(ours / num_trees))
    title_others = same_gpu ? sprintf(", others %.2f\nfaster on %d of %d", exp(theirs / num_trees), wins, num_trees) : ''
    set title title_ours.title_others
    if (i == 3) { set key } else { unset key }
    if (i > 1) { set ytics 0,1,num_trees - 1 format '' }
    if (i == 1) {
        plot for [k = same_gpu ? 1 : 2:2] both using (k == 1 ? $3 : $2):0:ytic(1) every ::first::last with points \
             lt (k == 1 ? others : cost) ps 1.3 title (k == 1 ? 'best of others' : 'treeattn, plan cost')
    } else {
        plot for [k = same_gpu ? 1 : 2:2] both using (k == 1 ? $3 : $2):0 every ::first::last with points \
             lt (k == 1 ? others : cost) ps 1.3 title (k == 1 ? 'best of others' : 'treeattn, plan cost')
    }
}
unset multiplot
