# Bytes per time on a GPU, by its counters: what the branches load, what memory delivers, what L2 could, and one pass.
load 'figures/steps/frame.gnuplot'
most = 256
row(plan, branches) = sprintf('plan=%s branches=%d state=cold', plan, branches)
last(plan, column) = at(row(plan, most), column)
rate(plan, column) = last(plan, column) / last(plan, 'us') / 1000
memory = ceiling('dram_gbps'); l2 = ceiling('l2_gbps')
# Every second row is cold; plan radix has 9 of them, then plan cost.
stats data using ($5 / $4 / 1000) every 2::1::17 name 'E' nooutput
TB = 1000.0
lesson_1 = sprintf("On a GPU as well, per-branch reading passes the memory's rate: it loads\nup to %.2f TB/s, while the memory delivers at most %.2f TB/s.", \
                   E_max / TB, memory / TB)
lesson_2 = sprintf("Hardware counters at %d branches: the memory delivers %.0f %% of the\nloaded bytes, because the L2 cache serves %.0f %% of the reads.", \
                   most, 100 * last('radix', 'dram_bytes') / last('radix', 'plan_bytes'), last('radix', 'l2_hit_percent'))
lesson_3 = sprintf("The L2 cache was read at %.1f TB/s, %.1f times the memory's rate:\nper-branch reading cannot load faster than the cache delivers.", l2 / TB, l2 / memory)
lesson_4 = sprintf("One pass for all branches passes both rates, with %.0f TB/s at %d branches:\n%.0f %% of the bytes that it counts are never loaded.", \
                   rate('cost', 'logical_bytes') / TB, most, 100 * (1 - last('cost', 'plan_bytes') / last('cost', 'logical_bytes')))
eval lesson(value(sprintf('lesson_%d', step)))
eval element(memory_line, 0) . name(memory_line, 0, most, memory * 0.86, 'read of memory')
eval element(loaded_line, 1) . name(loaded_line, 1, most, rate('radix', 'logical_bytes') * 1.12, 'per-branch: loaded bytes')
eval element(delivered_line, 2) . name(delivered_line, 2, most, rate('radix', 'dram_bytes'), 'per-branch: bytes that\nmemory delivers')
eval element(cache_line, 3) . name(cache_line, 3, most, l2 * 1.06, 'read of the L2 cache')
eval element(one_pass_line, 4) . name(one_pass_line, 4, most, rate('cost', 'logical_bytes'), 'one pass for all branches')
token_bytes = 2 * 8 * 128 * 2 # K and V of 8 KV heads, head_dim 128, fp16
unique(branches) = at(row('cost', branches), 'unique_bytes')
own = (unique(2) - unique(1)) / token_bytes
set logscale x 2
set logscale y
set xlabel sprintf('branches (%.0f shared + %.0f own tokens each)', unique(1) / token_bytes - own, own)
set ylabel 'GB/s, cold L2'
set ytics ('100' 100, '300' 300, '1000' 1000, '3000' 3000, '10000' 10000, '30000' 30000)
set xrange [0.94:272]
set yrange [100:60000]
plot data using 2:(memory) every 2::1::17 with lines lt memory_line title 'read of memory, measured', \
     '' using 2:(from(3, l2)) every 2::1::17 with lines lt cache_line title 'read of the L2 cache, measured', \
     '' using 2:(from(2, $8 / $4 / 1000)) every 2::1::17 with linespoints lt delivered_line title 'per-branch reading: dram_bytes / time', \
     '' using 2:(from(1, $6 / $4 / 1000)) every 2::1::17 with linespoints lt loaded_line title 'per-branch reading: plan_bytes / time', \
     '' using 2:(from(4, $5 / $4 / 1000)) every 2::19::35 with linespoints lt one_pass_line title 'one pass: logical_bytes / time'
