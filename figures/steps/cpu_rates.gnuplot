# Bytes per time on a CPU: what the branches load, what memory has to deliver, what a cache could, and one pass.
load 'figures/steps/frame.gnuplot'
most = 128; best = 64
row(plan, branches) = sprintf('plan=%s branches=%d', plan, branches)
best_loaded = at(row('flash', best), 'logical_gbps'); best_memory = at(row('flash', best), 'memory_read_gbps')
lesson_1 = sprintf("On a CPU, per-branch reading passes the memory's rate: %d branches\nload %.0f GB/s, while the memory delivers at most %.0f GB/s.", \
                   best, best_loaded, best_memory)
lesson_2 = sprintf("The memory has to deliver each stored byte only once per step:\nthat is %.1f of the %.0f GB/s which %d branches load.", \
                   at(row('flash', best), 'unique_gbps'), best_loaded, best)
lesson_3 = sprintf("A cache serves the other reads. It was read at %.0f GB/s:\nthe memory's rate is no limit for bytes that a cache delivers.", \
                   at(row('flash', best), 'cache_read_gbps'))
lesson_4 = sprintf("One pass for all branches reaches an effective %.0f GB/s without a cache:\nit loads %.1f GB/s, and the other bytes that it counts are never loaded.", \
                   at(row('cost', best), 'logical_gbps'), at(row('cost', best), 'plan_gbps'))
eval lesson(value(sprintf('lesson_%d', step)))
last(plan, column) = at(row(plan, most), column)
eval element(memory_line, 0) . name(memory_line, 0, most, last('flash', 'memory_read_gbps'), 'read of memory')
eval element(loaded_line, 1) . name(loaded_line, 1, most, last('flash', 'logical_gbps'), 'per-branch: loaded bytes')
eval element(delivered_line, 2) . name(delivered_line, 2, most, last('flash', 'unique_gbps'), 'per-branch: stored bytes')
eval element(cache_line, 3) . name(cache_line, 3, most, last('flash', 'cache_read_gbps') + 5, 'read of the cache')
eval element(one_pass_line, 4) . name(one_pass_line, 4, most, last('cost', 'logical_gbps') - 5, 'one pass for all branches')
area = '#efe6f5'
if (step == 3) set label 90 'from the cache' at 40,23 center front textcolor rgb colour[cache_line]
if (step > 3) area = '#eeeeee'
set logscale x 2
set xlabel sprintf('branches (%s each)', branch_tokens)
set ylabel 'GB/s'
set xrange [0.94:136]
set yrange [0:180]
# Per-branch reading (plan flash) has every second row from the first, one pass (plan cost) from the second.
plot data using 2:(from(3, $6)):4 every 2::1 with filledcurves lc rgb area title 'delivered by the cache', \
     '' using 2:7 every 2::1 with lines lt memory_line title 'read of memory, measured', \
     '' using 2:(from(3, $8)) every 2::1 with lines lt cache_line title 'read of the prefix from the cache, measured', \
     '' using 2:(from(2, $6)) every 2::1 with linespoints lt delivered_line title 'per-branch reading: stored bytes / time', \
     '' using 2:(from(1, $4)) every 2::1 with linespoints lt loaded_line title 'per-branch reading: loaded bytes / time', \
     '' using 2:(from(4, $4)) every 2::2 with linespoints lt one_pass_line title 'one pass: logical bytes / time'
