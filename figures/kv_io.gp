# Bytes of each strategy on each workload, in percent of what a strategy without grouping loads.
width = 1240; height = 1060
load 'figures/style.gnuplot'
rows_of_a_workload = 16
workload(row) = int((row - 1) / rows_of_a_workload)
# The eight strategies stand side by side over a workload's name.
place(row, s) = strcol(2) eq word(strategies, s) && strcol(3) eq 'packed' ? workload(row) + (s - 4.5) * 0.1 : NaN
names = system(sprintf("grep -v '^#' '%s' | cut -d , -f 1 | uniq | tail -n +2 | tr ' ' '-'", data))
stats data using (strcol(2) eq 'flatten' && strcol(3) eq 'packed' ? $13 : NaN) name 'cut' nooutput
set xrange [-0.6:words(names) - 0.4]
set logscale y
set xtics scale 0 ('' 0)
set for [i = 0:words(names) - 1] xtics add (word(names, i + 1) i)
set grid noxtics
set for [i = 0:words(names) - 2] arrow from i + 0.5, graph 0 to i + 0.5, graph 1 nohead lc rgb '#dddddd' lw 1
set arrow from graph 0, first 100 to graph 1, first 100 nohead lc rgb '#000000' dt 2 lw 1
set multiplot layout 3,1 margins 0.075,0.815,0.045,0.955 spacing 0.1,0.085
set key outside right top reverse Left
set ylabel 'K and V loaded, % of logical_bytes'
set yrange [0.3:150]
set title sprintf("Grouping (plan flatten) removes %.1f to %.1f %% of the loaded K and V", cut_min, cut_max)
plot data using (place($0, node) + 0.05 - 0.1):(100.0*$8/$7):(0.42) with xerrorbars lc rgb '#bbbbbb' dt 1 lw 6 ps 0 title 'floor: each token once', \
     for [s = 1:8] '' using (place($0, s)):(100.0*$9/$7) with points lt s ps 1.2 title word(strategies, s)
unset key
set ylabel 'partial states + masks, % of logical_bytes'
set yrange [0.01:150]
set title 'The price of cutting: partial states, written and read again, and masks'
plot for [s = 2:8] data using (place($0, s)):(100.0*($11+$12)/$7) with points lt s ps 1.2
set ylabel 'hidden pairs, % of visible pairs'
set yrange [0.3:1000]
set title 'The price of joining: (query, token) pairs that are computed and then hidden by a mask'
plot for [s in '4 7 8'] data using (place($0, s + 0)):16 with points lt s + 0 ps 1.2
unset multiplot
