# Bytes that one step loads against the bytes that are stored.
load 'figures/steps/frame.gnuplot'
most = 128
last = sprintf('plan=flash branches=%d', most)
mb(column) = at(last, 'us') * at(last, column) / 1000
eval lesson(sprintf("Sharing storage is not sharing bandwidth: %d branches store %.0f MB,\nand load %.0f MB in each step, because each reads its whole path.", \
                    most, mb('unique_gbps'), mb('logical_gbps')))
eval element(shared_line, 0) . name(shared_line, 0, most, mb('unique_gbps'), 'stored: shared blocks')
eval element(loaded_line, 1) . name(loaded_line, 1, most, mb('logical_gbps'), 'loaded: per-branch\nreading')
set xlabel sprintf('branches (%s each)', branch_tokens)
set ylabel 'K and V of one layer, MB'
set xrange [0:131]
set xtics 16
set yrange [0:1200]
plot data using 2:($3 * $6 / 1000) every 2::1 with linespoints lt shared_line title 'stored: shared blocks', \
     '' using 2:($3 * $4 / 1000) every 2::1 with linespoints lt loaded_line title 'loaded: per-branch reading'
