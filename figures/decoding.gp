# A whole decode step on DeFT's workloads: its time with each plan, and the speedup over radix beside DeFT's own.
width = 1340; height = 900
load 'figures/style.gnuplot'
# One line per workload of the table (others have a comma in their name, or no DeFT): its name, the step's time in ms with standard attention, radix, flatten, cost and none, then
# DeFT's decoding speedup and its bound.
rows = '< awk -F, ''!/^#/ && NF == 21 && $19 + 0 > 0 { gsub(/"/, "", $1);' \
     . ' if (!($1 in seen)) { seen[$1] = 1; name[n++] = $1 } ms[$1, $2] = $12 / 1000; deft[$1] = $19; bound[$1] = $21 }' \
     . ' function cell(w, p) { return (w, p) in ms ? ms[w, p] : "NaN" }' \
     . ' END { for (i = 0; i < n; i++) { w = name[i]; printf "%s,%s,%g,%g,%g,%g,%g,%g\n", w, cell(w, "standard"),' \
     . ' ms[w, "radix"], ms[w, "flatten"], ms[w, "cost"], ms[w, "none"], deft[w], bound[w] } }'' '.data
stats rows using ($3/$5) name 'gain' nooutput
stats rows using 6 name 'none' nooutput
set xrange [-0.6:gain_records - 0.4]
set xtics scale 0
set grid noxtics
set for [i = 0:gain_records - 2] arrow from i + 0.5, graph 0 to i + 0.5, graph 1 nohead lc rgb '#dddddd' lw 1
set multiplot
set lmargin at screen 0.065; set rmargin at screen 0.77
set key at screen 0.99,0.94 right top reverse Left
set bmargin at screen 0.535; set tmargin at screen 0.94
set ylabel 'ms per step'
set logscale y 2
set yrange [3:*]
set ytics ('4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128, '256' 256, '512' 512)
set xtics format ''
set title sprintf("A step of 32 layers: %.1f to %.1f ms without attention; the rest is the plan's", none_min, none_max)
plot rows using ($0 - 0.24):2 with points lt copied ps 1.3 title 'standard attention', \
     '' using ($0 - 0.08):3 with points lt radix ps 1.3 title 'radix', \
     '' using ($0 + 0.08):4 with points lt flatten ps 1.3 title 'flatten', \
     '' using ($0 + 0.24):5 with points lt cost ps 1.6 title 'cost', \
     '' using ($0 - 0.4):6:(0.8):(0) with vectors nohead lt floor_line title 'no attention'
set bmargin at screen 0.155; set tmargin at screen 0.475
set key at screen 0.99,0.475
set ylabel "radix's time / time"
set yrange [0.9:*]
set ytics ('1' 1, '1.25' 1.25, '1.5' 1.5, '2' 2, '3' 3, '4' 4, '6' 6)
set xtics format '%s' rotate by -30
set title sprintf("Speedup of decoding over radix: cost gains %.2f to %.2f times", gain_min, gain_max)
plot rows using 0:(NaN):xtic(1) with points notitle, \
     rows using ($0 - 0.4):($3/$6):(0.8):(0) with vectors nohead lt floor_line title 'bound: no attention', \
     '' using ($0 - 0.08):($3/$4) with points lt flatten ps 1.3 title 'flatten', \
     '' using ($0 + 0.08):($3/$5) with points lt cost ps 1.6 title 'cost', \
     '' using ($0 + 0.24):7 with points lt others ps 1.4 title "DeFT's flatten, over its radix", \
     '' using ($0 - 0.4):8:(0.8):(0) with vectors nohead lt others lw 1 title "bound of DeFT's radix", \
     1 with lines lc rgb '#000000' lw 1 notitle
unset multiplot
