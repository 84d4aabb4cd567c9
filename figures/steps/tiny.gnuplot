# The book's tiny tree after each call of build/tiny_tree: block tables above, blocks with tokens and reference counts below.
# Steps 1 to 5; in each, what the call has changed has colour.
load 'figures/steps/frame.gnuplot'
of_row(kind, index) = sprintf('step=%d kind=%s index=%d', step, kind, index)
copied(column) = at('step=3 kind=copy', column)
lesson_1 = sprintf("A branch writes %.0f tokens. Each block that they need is listed\nin one table: its reference count is %.0f.", \
                   at('step=1 kind=length', 'value'), at('step=1 kind=refs index=0', 'value'))
lesson_2 = sprintf("A fork copies the table, and no key or value moves:\nboth blocks are now listed in %.0f tables.", at('step=2 kind=refs index=0', 'value'))
lesson_3 = sprintf("Copy-on-write: the next slot is in block %.0f, which both branches list;\n%.0f tokens are copied to block %.0f before the first branch writes.", \
                   copied('index'), copied('value'), copied('place'))
lesson_4 = sprintf("The second branch alone lists block %.0f now, so it writes into it:\nonly one of two branches has to copy.", copied('index'))
lesson_5 = "A prune lowers the counts of the blocks in the branch's table:\na block that no table lists is free."
eval lesson(value(sprintf('lesson_%d', step)))
set lmargin at screen 0.02
set rmargin at screen 0.98
set bmargin at screen 0.02
unset border
unset tics
unset grid
set xrange [-0.7:29.7]
set yrange [-0.5:8.7]
set style fill solid 1 border
left(block) = 5 * block # a block's 4 slots, each 1 wide; tables above have entries of 1.5
table_left(branch) = branch == 0 ? 3 : 17
is(kind, change) = $1 == step && strcol(2) eq kind && $6 == change
new_colour = colour[shared_line]
do for [block = 0:5] {
    do for [slot = 0:3] {
        set object 4 * block + slot + 1 rect from left(block) + slot, 1.6 to left(block) + slot + 1, 2.9 fs empty border lc rgb '#bbbbbb' lw 1.2 back
    }
    set label 10 + block sprintf('block %d', block) at left(block) + 2, 1.1 center textcolor rgb '#5f5f5f'
}
if (step == 3) {
    set arrow 1 from left(copied('index')) + 3, 3.4 to left(copied('place')) + 1, 3.4 lc rgb colour[loaded_line] lw 3 front
    set label 1 'copy' at left(copied('place')) + 1.3, 3.45 left textcolor rgb colour[loaded_line] font 'DejaVu Sans Bold,14' front
}
text(change) = change ? 'DejaVu Sans Bold,14' : 'DejaVu Sans,14'
tint(change) = change ? '#dbe5f6' : '#f0f0f0'
ink(change) = change ? new_colour : '#5f5f5f'
plot for [c = 0:1] data using (is('entry', c) ? table_left($3) + 1.5 * $4 + 0.75 : NaN):(6.2):(left($5) + 2 - table_left($3) - 1.5 * $4 - 0.75):(-3.15) \
         with vectors lc rgb (c ? new_colour : '#a0a0a0') lw (c ? 2.5 : 1.3) dt 1 head filled size 0.35,20 title 'arrows from tables to blocks', \
     for [c = 0:1] '' using (is('entry', c) ? table_left($3) + 1.5 * $4 + 0.75 : NaN):(6.8):(0.75):(0.6) with boxxyerror fc rgb tint(c) lc rgb ink(c) lw 1.3 dt 1 title 'block tables', \
     for [c = 0:1] '' using (is('entry', c) ? table_left($3) + 1.5 * $4 + 0.75 : NaN):(6.8):5 with labels font text(c) tc rgb ink(c) title 'block tables', \
     for [c = 0:1] '' using (is('length', c) ? table_left($3) : NaN):(8):(sprintf('branch %d, %d tokens', $3, $5)) with labels left font text(c) tc rgb ink(c) title 'branches with their lengths', \
     for [c = 0:1] '' using (is('cell', c) ? left($3) + $4 + 0.5 : NaN):(2.25):(0.5):(0.65) with boxxyerror fc rgb tint(c) lc rgb ink(c) lw 1.3 dt 1 title 'blocks', \
     for [c = 0:1] '' using (is('cell', c) ? left($3) + $4 + 0.5 : NaN):(2.25):5 with labels font text(c) tc rgb ink(c) title 'tokens in their slots', \
     for [c = 0:1] '' using (is('refs', c) ? left($3) + 2 : NaN):(0.3):($5 > 0 ? sprintf('references %d', $5) : 'free') with labels font text(c) tc rgb ink(c) title 'reference counts'
