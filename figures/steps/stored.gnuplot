# Memory of K and V against the number of branches: a copy for each, then shared blocks.
load 'figures/steps/frame.gnuplot'
most = 256
last = sprintf('series=branches x=%d', most)
GiB = 2.0**30
copied = at(last, 'copied_bytes') / GiB; shared = at(last, 'shared_bytes') / GiB
added(column) = at('series=branches x=2', column) - at('series=branches x=1', column)
block_tokens = told('blocks of %s tokens')
own = block_tokens * added('shared_blocks'); prefix = block_tokens * at('series=branches x=1', 'shared_blocks') - own
lesson_1 = sprintf("Without sharing, each branch keeps a copy of the prefix:\n%d branches take %.1f GiB.", most, copied)
lesson_2 = sprintf("Shared blocks store the prefix once: %d branches take %.2f GiB.\nOne branch more adds %.0f blocks instead of %.0f.", \
                   most, shared, added('shared_blocks'), added('copied_blocks'))
eval lesson(step == 1 ? lesson_1 : lesson_2)
eval element(copied_line, 1) . name(copied_line, 1, most, copied, 'copied for each branch')
eval element(shared_line, 2) . name(shared_line, 2, most, shared, 'shared blocks')
set xlabel sprintf('branches with one prefix of %.0f tokens, %.0f own tokens each', prefix, own)
set ylabel 'KV cache, GiB'
set xrange [0:262]
set xtics 32
set yrange [0:70]
pick(column) = strcol(1) eq 'branches' ? column(column) : NaN
plot data using (pick(2)):(from(1, $5 / GiB)) with linespoints lt copied_line title 'copied for each branch', \
     '' using (pick(2)):(from(2, $6 / GiB)) with linespoints lt shared_line title 'shared blocks'
