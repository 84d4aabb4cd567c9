# Each strategy on DeFT's workloads, as a ratio to Radix; below them the ratios of DeFT's own table.
width = 1340; height = 860
load 'figures/style.gnuplot'
# One line per workload, iterations and trees of a trace summed up: its name, then Radix's time / time of each plan.
rows = '< awk -F, ''!/^#/ && $1 != "tree" { gsub(/"/, "", $1); sub(/ t[0-9]+ i[0-9]+$/, "", $1);' \
     . ' if (!($1 in number)) { number[$1] = n; name[n++] = $1 } us[$1, $5] += $7 }' \
     . ' END { split("'.strategies.'", plan, " "); for (i = 0; i < n; i++) { printf "%s", name[i];' \
     . ' for (p = 1; p <= 8; p++) printf ",%g", us[name[i], "radix"] / us[name[i], plan[p]]; print "" } }'' '.data
theirs = '< awk -F, ''NR == FNR { if (!/^#/ && $1 != "tree") { gsub(/"/, "", $1); sub(/ t[0-9]+ i[0-9]+$/, "", $1);' \
       . ' if (!($1 in place)) place[$1] = n++ } next } !/^#/ && $1 in place {' \
       . ' print place[$1] "," $2 / $3 "," $2 / $4 "," $2 / $5 }'' '.data.' docs/deft_table4.csv'
stats rows using 9 name 'ours' nooutput
stats rows using 8 name 'flat' nooutput
num_workloads = ours_records
set logscale y 2
set xrange [-0.6:num_workloads - 0.4]
set xtics scale 0
set grid noxtics
set for [i = 0:num_workloads - 2] arrow from i + 0.5, graph 0 to i + 0.5, graph 1 nohead lc rgb '#dddddd' lw 1
set key outside right top reverse Left
set multiplot
set lmargin at screen 0.065; set rmargin at screen 0.845
set bmargin at screen 0.46; set tmargin at screen 0.94
set ylabel "radix's time / time (higher is faster)"
set yrange [0.12:20]
set ytics ('1/8' 0.125, '1/4' 0.25, '1/2' 0.5, '1' 1, '2' 2, '4' 4, '8' 8, '16' 16)
set xtics format ''
set title sprintf("One kernel, %d plans: evenly cut items always pay (flatten %.1f to %.1f times, cost %.1f to %.1f times), whole nodes do not", words(strategies), flat_min, flat_max, ours_min, ours_max)
# The eight strategies stand side by side, each on a stem from 1.
plot for [s = 1:8] rows using ($0 + (s - 4.5) * 0.1):(1):(0):(column(s + 1) - 1) with vectors nohead lt s dt 1 lw (s == cost ? 4 : 2.5) notitle, \
     for [s = 1:8] rows using ($0 + (s - 4.5) * 0.1):(column(s + 1)) with points lt s ps (s == cost ? 1.6 : 1.1) title word(strategies, s), \
     1 with lines lc rgb '#000000' lw 1 notitle
set bmargin at screen 0.155; set tmargin at screen 0.4
set yrange [0.35:6]
set xtics rotate by -30
set title "DeFT's own kernels, from its poster: flatten pays, node_chunk is slower than radix on few-shot and reasoning"
plot rows using 0:(NaN):xtic(1) with points notitle, \
     theirs using ($1 + (node - 4.5) * 0.1):(1):(0):($2 - 1) with vectors nohead lt node dt 1 notitle, \
     theirs using ($1 + (node_chunk - 4.5) * 0.1):(1):(0):($3 - 1) with vectors nohead lt node_chunk dt 1 notitle, \
     theirs using ($1 + (flatten - 4.5) * 0.1):(1):(0):($4 - 1) with vectors nohead lt flatten dt 1 notitle, \
     theirs using ($1 + (node - 4.5) * 0.1):2 with points lt node ps 1.1 title "DeFT's node", \
     theirs using ($1 + (node_chunk - 4.5) * 0.1):3 with points lt node_chunk ps 1.1 title "DeFT's node_chunk", \
     theirs using ($1 + (flatten - 4.5) * 0.1):4 with points lt flatten ps 1.1 title "DeFT's flatten", \
     1 with lines lc rgb '#000000' lw 1 notitle
unset multiplot
