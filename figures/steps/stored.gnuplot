# Memory of K and V against the number of branches: a copy for each, then shared blocks.
load 'figures/steps/frame.gnuplot'
GiB = 2.0**30
most = 256
last = sprintf('series=branches x=%d', most)
copied_gib = at(last, 'copied_bytes') / GiB; shared_gib = at(last, 'shared_bytes') / GiB
per_branch(column) = at('series=branches x=2', column) - at('series=branches x=1', column)
block_tokens = real(system(sprintf("sed -n 's/^# blocks of \\([0-9]*\\) tokens.*/\\1/p' '%s'", data)))
own = block_tokens * per_branch('shared_blocks'); prefix = block_tokens * at('series=branches x=1', 'shared_blocks') - own
lesson = step == 1 ? sprintf("Without sharing, each branch keeps a copy of the prefix:\n%d branches take %.1f GiB.", most, copied_gib) \
                   : sprintf("Shared blocks store the prefix once: %d branches take %.2f GiB.\nA further branch adds %.0f blocks instead of %.0f.", \
                             most, shared_gib, per_branch('shared_blocks'), per_branch('copied_blocks'))
eval titled(lesson)
eval element(71, 1, '#8a5a2b', '(10,5)', 1)
eval element(72, 2, '#0b2f7f', '1', 7)
eval name(1, 1, '#8a5a2b', '256', 'copied_gib', 'copied for each branch')
eval name(2, 2, '#0b2f7f', '256', 'shared_gib', 'shared blocks')
set xlabel sprintf('branches with one prefix of %.0f tokens, %.0f own tokens each', prefix, own)
set ylabel 'KV cache, GiB'
set xrange [0:262]
set xtics 32
set yrange [0:70]
pick(series, column) = strcol(1) eq series ? column(column) : NaN
plot data using (pick('branches', 2)):(from(1, $5 / GiB)) with linespoints lt 71 title 'copied for each branch', \
     '' using (pick('branches', 2)):(from(2, $6 / GiB)) with linespoints lt 72 title 'shared blocks'
