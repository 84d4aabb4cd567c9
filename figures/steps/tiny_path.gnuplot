# The tiny tree itself: the tokens of both branches along their paths, after the fourth call of build/tiny_tree.
load 'figures/steps/frame.gnuplot'
tokens(branch) = at(sprintf('step=%d kind=length index=%d', step, branch), 'value')
token(branch, position) = strcol(2) eq 'token' && $1 == step && $3 == branch && $4 == position ? $5 : NaN
shared = 0
do for [position = 0:tokens(0) - 1] {
    stats data using (token(0, position)) name 'A' nooutput
    stats data using (token(1, position)) name 'B' nooutput
    shared = shared + (A_max == B_max)
}
eval lesson(sprintf("A branch is a path from the root: %.0f and %.0f tokens, %.0f of them shared.\nThat is %.0f tokens along the paths, but only %.0f different ones.", \
                    tokens(0), tokens(1), shared, tokens(0) + tokens(1), tokens(0) + tokens(1) - shared))
set lmargin at screen 0.02
set rmargin at screen 0.98
set bmargin at screen 0.02
unset border
unset tics
unset grid
set xrange [-0.8:11.5]
set yrange [-2.4:2]
side(branch, position) = position < shared ? 0 : branch == 0 ? 0.9 : -0.9
of_branch(branch) = strcol(2) eq 'token' && $1 == step && $3 == branch && ($4 >= shared || branch == 0)
tint(position) = position < shared ? '#dbe5f6' : '#f0f0f0'
do for [branch = 0:1] {
    do for [position = 1:tokens(branch) - 1] {
        set arrow from position - 1, side(branch, position - 1) to position, side(branch, position) nohead lc rgb '#a0a0a0' lw 2 back
    }
    set label sprintf('branch %d', branch) at tokens(branch) - 0.5, side(branch, shared) left textcolor rgb '#5f5f5f'
}
set label 'shared prefix' at (shared - 1) / 2.0, -0.75 center textcolor rgb colour[shared_line] font 'DejaVu Sans Bold,14'
set style fill solid 1 border
plot for [b = 0:1] data using (of_branch(b) ? $4 : NaN):(side(b, $4)):(0.33) with circles fc rgb (b ? '#f0f0f0' : '#f0f0f0') lc rgb '#5f5f5f' lw 1.3 dt 1 title 'own tokens', \
     '' using (of_branch(0) && $4 < shared ? $4 : NaN):(0):(0.33) with circles fc rgb '#dbe5f6' lc rgb colour[shared_line] lw 2 dt 1 title 'shared tokens', \
     for [b = 0:1] '' using (of_branch(b) ? $4 : NaN):(side(b, $4)):5 with labels font 'DejaVu Sans Bold,14' title 'token numbers along the paths'
