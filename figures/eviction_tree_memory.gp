# Tokens of KV memory over branches that forget, in two settings: a long prefix with short answers, and the reverse.
width = 1240; height = 560
load 'figures/style.gnuplot'
# Rows of a series in the setting with this prefix.
pick(prefix, series, column) = column(1) == prefix && strcol(4) eq series ? column(column) : NaN
stats data using 1 every ::1 name 'prefix' nooutput
stats data using (column(1) == prefix_max ? $2 : NaN) every ::1 name 'own_a' nooutput
stats data using (column(1) == prefix_min ? $2 : NaN) every ::1 name 'own_b' nooutput
stats data using (column(1) == prefix_max ? $3 : NaN) every ::1 name 'budget_a' nooutput
stats data using (column(1) == prefix_min ? $3 : NaN) every ::1 name 'budget_b' nooutput
# at the largest number of branches
stats data using 5 every ::1 name 'branches' nooutput
last(prefix, series) = column(1) == prefix && strcol(4) eq series && column(5) == branches_max ? column(6) : NaN
stats data using (last(prefix_max, 'shared')) every ::1 name 'shared_a' nooutput
stats data using (last(prefix_max, 'cow')) every ::1 name 'cow_a' nooutput
stats data using (last(prefix_min, 'shared')) every ::1 name 'shared_b' nooutput
stats data using (last(prefix_min, 'private')) every ::1 name 'private_b' nooutput
set multiplot layout 1,2 margins 0.065,0.985,0.12,0.82 spacing 0.075,0.1
set logscale x 2
set logscale y 10
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64)
set xrange [0.88:74]
set yrange [1e3:6e6]
set ytics ('1 K' 1e3, '10 K' 1e4, '100 K' 1e5, '1000 K' 1e6)
set xlabel 'branches'
set ylabel 'blocks in use, tokens'
set key top left reverse Left
set title sprintf("Prefix %.0f, own tokens %.0f, budget %.0f:\nwith %.0f branches, copying out of shared blocks\ntakes %.1f times the memory of forgetting nothing", prefix_max, own_a_max, budget_a_max, branches_max, cow_a_max / shared_a_max)
crossing = prefix_max / (budget_a_max - own_a_max)
set arrow from crossing, 1e3 to crossing, 1e5 nohead lt floor_line
set label 'branches x (budget - own tokens) = prefix' at crossing, 1.35e3 offset 0.7,0
plot data using (pick(prefix_max, 'copies', 5)):6 with linespoints lt copied title 'copied for each branch', \
     '' using (pick(prefix_max, 'shared', 5)):6 with linespoints lt shared_blocks title 'shared, nothing forgotten', \
     '' using (pick(prefix_max, 'cow', 5)):6 with linespoints lt cow_blocks title 'copied out of shared blocks', \
     '' using (pick(prefix_max, 'private', 5)):6 with linespoints lt own_budget title 'private: prefix kept', \
     '' using (pick(prefix_max, 'vote', 5)):6 with linespoints lt voted title 'vote: oldest shared tokens first'
unset arrow
unset key
unset label
unset ylabel
set title sprintf("Prefix %.0f, own tokens %.0f, budget %.0f:\nwith %.0f branches, keeping the prefix\ntakes %.2f of the memory of forgetting nothing", prefix_min, own_b_max, budget_b_max, branches_max, private_b_max / shared_b_max)
plot data using (pick(prefix_min, 'copies', 5)):6 with linespoints lt copied, \
     '' using (pick(prefix_min, 'shared', 5)):6 with linespoints lt shared_blocks, \
     '' using (pick(prefix_min, 'cow', 5)):6 with linespoints lt cow_blocks, \
     '' using (pick(prefix_min, 'private', 5)):6 with linespoints lt own_budget, \
     '' using (pick(prefix_min, 'vote', 5)):6 with linespoints lt voted
unset multiplot
