# Each strategy on DeFT's workloads, as a ratio to Radix; beside them the ratios of DeFT's own table.
width = 1350; height = 600
load 'figures/style.gnuplot'
plans = 'flash flash_decoding radix tree_mask node node_chunk flatten cost'
# One row a workload, iterations and trees of a trace summed up: its name, then Radix's time / time of each plan.
rows = '< awk -F, ''!/^#/ && $1 != "tree" { gsub(/"/, "", $1); sub(/ t[0-9]+ i[0-9]+$/, "", $1);' \
     . ' if (!($1 in number)) { number[$1] = n; name[n++] = $1 } us[$1, $5] += $7 }' \
     . ' END { split("'.plans.'", plan, " "); for (i = 0; i < n; i++) { printf "%s", name[i];' \
     . ' for (p = 1; p <= 8; p++) printf ",%g", us[name[i], "radix"] / us[name[i], plan[p]]; print "" } }'' '.data
theirs = '< awk -F, ''NR == FNR { if (!/^#/ && $1 != "tree") { gsub(/"/, "", $1); sub(/ t[0-9]+ i[0-9]+$/, "", $1);' \
       . ' if (!($1 in place)) place[$1] = n++ } next } !/^#/ && $1 in place {' \
       . ' print place[$1] "," $2 / $3 "," $2 / $4 "," $2 / $5 }'' '.data.' docs/deft_table4.csv'
set ylabel "Radix Attention's time / time (higher is faster)"
set logscale y 2
set yrange [0.1:64]
set xrange [-0.6:14.6]
set grid x
set key outside right
set xtics rotate by -35
set title "Attention of one step by strategy, the same kernel under all; hollow: DeFT's own kernels, from its poster"
plot for [p = 1:8] rows using 0:(column(p + 1)):xtic(1) with points lt p ps 1.3 title word(plans, p), \
     theirs using ($1 + 0.2):2 with points lt 5 pt 12 ps 1.5 title "DeFT's node", \
     theirs using ($1 + 0.2):3 with points lt 6 pt 14 ps 1.5 title "DeFT's node_chunk", \
     theirs using ($1 + 0.2):4 with points lt 7 pt 6 ps 1.5 title "DeFT's flatten"
