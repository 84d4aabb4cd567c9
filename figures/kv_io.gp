# Bytes of each strategy on each workload, in percent of what a strategy without grouping loads.
width = 1200; height = 1000
load 'figures/style.gnuplot'
rows_of_a_workload = 16
workload(row) = int((row - 1) / rows_of_a_workload)
place(row, strategy, shift) = strcol(2) eq strategy && strcol(3) eq 'packed' ? workload(row) + shift : NaN
names = system(sprintf("grep -v '^#' '%s' | cut -d , -f 1 | uniq | tail -n +2 | tr ' ' '-'", data))
stats data using (strcol(2) eq 'flatten' && strcol(3) eq 'deft_counted' ? $13 : NaN) name 'cut' nooutput
set xrange [-0.6:words(names) - 0.4]
set logscale y
set xtics scale 0 ('' 0)
set for [i = 0:words(names) - 1] xtics add (word(names, i + 1) i)
set grid noxtics
set arrow from graph 0, first 100 to graph 1, first 100 nohead lc rgb '#000000' dt 2 lw 1
set multiplot layout 3,1 margins 0.075,0.83,0.045,0.955 spacing 0.1,0.085
set key outside right top reverse Left
set ylabel 'K and V loaded, % of logical_bytes'
set yrange [0.3:150]
set title sprintf("Grouping removes %.1f to %.1f %% of the K and V loaded, as DeFT counts; items of 32 queries load more", cut_min, cut_max)
plot data using (place($0, 'node', 0)):(100.0*$8/$7):(0.42) with xerrorbars lt 8 lw 6 ps 0 title 'floor: each token once', \
     '' using (place($0, 'flash', -0.35)):(100.0*$9/$7) with points lt 7 title 'flash', \
     '' using (place($0, 'flash_decoding', -0.25)):(100.0*$9/$7) with points lt 8 title 'flash_decoding', \
     '' using (place($0, 'radix', -0.15)):(100.0*$9/$7) with points lt 6 title 'radix', \
     '' using (place($0, 'tree_mask', -0.05)):(100.0*$9/$7) with points lt 5 title 'tree_mask', \
     '' using (place($0, 'node', 0.05)):(100.0*$9/$7) with points lt 4 title 'node', \
     '' using (place($0, 'node_chunk', 0.15)):(100.0*$9/$7) with points lt 3 title 'node_chunk', \
     '' using (place($0, 'flatten', 0.25)):(100.0*$9/$7) with points lt 2 title 'flatten', \
     '' using (place($0, 'cost', 0.35)):(100.0*$9/$7) with points lt 1 title 'cost'
unset key
set ylabel 'partial states + masks, % of logical_bytes'
set yrange [0.01:150]
set title 'What cutting costs: partial states, written and read, and masks; on the scale of the K and V above'
plot data using (place($0, 'flash_decoding', -0.25)):(100.0*($11+$12)/$7) with points lt 8, \
     '' using (place($0, 'radix', -0.15)):(100.0*($11+$12)/$7) with points lt 6, \
     '' using (place($0, 'tree_mask', -0.05)):(100.0*($11+$12)/$7) with points lt 5, \
     '' using (place($0, 'node', 0.05)):(100.0*($11+$12)/$7) with points lt 4, \
     '' using (place($0, 'node_chunk', 0.15)):(100.0*($11+$12)/$7) with points lt 3, \
     '' using (place($0, 'flatten', 0.25)):(100.0*($11+$12)/$7) with points lt 2, \
     '' using (place($0, 'cost', 0.35)):(100.0*($11+$12)/$7) with points lt 1
set ylabel 'hidden pairs, % of visible pairs'
set yrange [0.3:1000]
set title 'What joining costs: (query, token) pairs that are computed and then hidden by a mask'
plot data using (place($0, 'tree_mask', -0.05)):16 with points lt 5, \
     '' using (place($0, 'flatten', 0.25)):16 with points lt 2, \
     '' using (place($0, 'cost', 0.35)):16 with points lt 1
unset multiplot
