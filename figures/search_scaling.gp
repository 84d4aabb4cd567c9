# Card sets solved against nodes; and the memory and bytes of the model's searches, shared and as copies.
width = 1340; height = 620
load 'figures/style.gnuplot'
pick(way, column) = strcol(1) eq way ? column(column) : NaN
of_tree(kept, proposals, column) = strcol(1) eq 'tree' && column(2) == kept && column(3) == proposals ? column(column) : NaN
stats data using (of_tree(5, 8, 5)) every ::1 name 'share' nooutput
stats data using (of_tree(5, 8, 8)) every ::1 name 'nodes' nooutput
stats data using (of_tree(5, 8, 12)) every ::1 name 'copied' nooutput
stats data using (of_tree(5, 8, 13)) every ::1 name 'plan' nooutput
stats data using (strcol(1) eq 'tree' ? column(0) : NaN) every ::1 name 'rows' nooutput
first = rows_min
set multiplot
set lmargin at screen 0.055; set rmargin at screen 0.515; set tmargin at screen 0.77; set bmargin at screen 0.115
set logscale x 2
set xrange [2.5:900]
set xtics ('3' 3, '6' 6, '12' 12, '25' 25, '50' 50, '100' 100, '200' 200, '400' 400, '800' 800)
set yrange [0:100]
set ytics 20
set xlabel 'nodes: steps proposed for a card set, mean'
set ylabel 'card sets solved, %'
set key at screen 0.285,0.985 top center horizontal maxrows 3 reverse Left samplen 3 width 1 font ',13' # above the title
set title sprintf("The tree of thoughts solves %.0f %%\nof the card sets with %.0f nodes", 100 * share_max, nodes_max)
plot data using (pick('tree', 8)):(100 * $5):(100 * $6):(100 * $7) with yerrorlines lt 21 title 'tree of thoughts', \
     data using (pick('chains', 8)):(100 * $5):(100 * $6):(100 * $7) with yerrorlines lt 22 title 'best of n chains, drawn', \
     data using (pick('chain', 8)):(100 * $5):(100 * $6):(100 * $7) with yerrorbars lt 23 title 'one chain, the most probable', \
     data using (pick('written', 8)):(100 * $5):(100 * $6):(100 * $7) with yerrorbars lt 24 title 'written-out search', \
     data using (pick('exhaustive', 8)):(100 * $5) with linespoints lt others title 'exhaustive, without a model', \
     data using (pick('random', 8)):(100 * $5) with linespoints lt copied title 'random tree, without a model'
unset logscale x
set lmargin at screen 0.585; set rmargin at screen 0.985
set xrange [-0.6:5.6]
set yrange [0:*]
set ytics auto
set xtics ('1 x 3' 0, '1 x 5' 1, '2 x 5' 2, '3 x 5' 3, '5 x 5' 4, '5 x 8' 5)
set xlabel 'states kept x proposals'
set ylabel 'K and V that attention reads for a card set, MB'
set title sprintf("Shared and read once for all branches,\nthe widest tree reads %.1f times less", copied_max / plan_max)
set key at graph 0.03,0.97 top left reverse Left samplen 3 font ',14'
plot data using (column(0) - first - 1):(pick('tree', 12)) with linespoints lt copied title 'copied for each branch', \
     data using (column(0) - first - 1):(pick('tree', 13)) with linespoints lt cost title 'shared blocks, plans of strategy cost', \
     data using (column(0) - first - 1):(pick('tree', 14)) with linespoints lt floor_line title 'each token of a step once'
unset multiplot
