# Blocks during a search that forks and prunes, the Game of 24.
load 'figures/steps/frame.gnuplot'
pick(column) = strcol(1) eq 'game_of_24' ? column(column) : NaN
stats data using (pick(4)) name 'S' nooutput
stats data using (pick(3)) name 'C' nooutput
stats data using (pick(4) == S_max ? pick(2) : NaN) name 'P' nooutput
stats data using (pick(2)) name 'X' nooutput
row(x) = sprintf('series=game_of_24 x=%d', x)
after = at(row(P_max + 1), 'shared_blocks')
lesson_1 = sprintf("A fork adds no blocks, new tokens do, and a prune frees them: the search\npeaks at %.0f blocks instead of %.0f, and after its prune it has %.0f.", \
                   S_max, C_max, after)
eval lesson(lesson_1)
eval element(copied_line, 0) . name(copied_line, 0, X_max, at(row(X_max), 'copied_blocks'), 'copied for each branch')
eval element(shared_line, 1) . name(shared_line, 1, X_max, at(row(X_max), 'shared_blocks'), 'shared blocks')
last_copied = NaN; rise(x) = (d = x - last_copied, last_copied = x, d)
stats data using (rise(pick(3))) name 'R' nooutput
stats data using (rise(pick(3)) == R_max ? pick(2) : NaN) name 'F' nooutput
set label 1 "forks: more tables,\nthe same blocks" at F_max - 2, graph 0.56 right textcolor rgb '#5f5f5f'
set label 2 'prune' at P_max + 4, graph 0.22 left textcolor rgb '#5f5f5f'
set arrow 2 from P_max + 3.6, graph 0.215 to P_max + 1, graph 0.17 lc rgb '#5f5f5f' lw 1.5
set xlabel 'iteration of the search'
set ylabel 'blocks in use'
set xrange [0:X_max + 2]
set xtics 10
set yrange [0:700]
plot data using (pick(2)):(pick(3)) with lines lt copied_line title 'copied for each branch', \
     '' using (pick(2)):(pick(4)) with lines lt shared_line title 'shared blocks'
