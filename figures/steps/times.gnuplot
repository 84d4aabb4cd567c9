# Time of a step in one layer against branches, on the CPU or, with gpu = 1, on the GPU: per-branch reading and one pass
# for all branches, then the floor: a plain read of the stored bytes (on the GPU the products, if they take longer).
load 'figures/steps/frame.gnuplot'
most = gpu ? 256 : 128
per_branch = gpu ? 'radix' : 'flash'
row(plan, branches) = sprintf('plan=%s branches=%d', plan, branches) . (gpu ? ' state=cold' : '')
last(plan, column) = at(row(plan, most), column)
floor_us = gpu ? last('cost', 'floor_us') : last('cost', 'us') * last('cost', 'unique_gbps') / last('cost', 'memory_read_gbps')
shown(us) = gpu ? sprintf(us < 100 ? '%.1f us' : '%.0f us', us) : sprintf('%.1f ms', us / 1000)
drawn(us) = gpu ? us : us / 1000
lesson_1 = sprintf("Fewer loads take less time on a %s: a step of %d branches takes %s\nin one pass for all branches, and %s if each branch reads its own path.", \
                   gpu ? 'GPU' : 'CPU', most, shown(last('cost', 'us')), shown(last(per_branch, 'us')))
lesson_2 = sprintf(gpu ? "A perfect kernel would need the floor, here %s: one pass takes\n%.1f times as long, per-branch reading %.0f times." \
                       : "The memory needs %s for the stored bytes: one pass takes\n%.1f times as long, per-branch reading %.0f times.", \
                   shown(floor_us), last('cost', 'us') / floor_us, last(per_branch, 'us') / floor_us)
eval lesson(step == 1 ? lesson_1 : lesson_2)
eval element(loaded_line, 0) . name(loaded_line, 0, most, drawn(last(per_branch, 'us')), 'per-branch reading')
eval element(one_pass_line, 1) . name(one_pass_line, 1, most, drawn(last('cost', 'us')) * (gpu ? 1.25 : 1), 'one pass for all branches')
eval element(least_line, 2) . name(least_line, 2, most, drawn(floor_us), gpu ? 'floor' : 'a read of the stored bytes')
set xlabel 'branches'
set ylabel gpu ? 'time of a step, us, cold L2' : 'time of a step, ms'
set xrange [0:most * 1.02]
set xtics most / 8
set yrange [0:gpu ? 500 : 22]
# Plans alternate in cpu_bandwidth.csv; in l2_amortization.csv every second row is cold, and plan cost follows plan radix.
if (gpu) {
    plot data using 2:4 every 2::1::17 with linespoints lt loaded_line title 'per-branch reading', \
         '' using 2:4 every 2::19::35 with linespoints lt one_pass_line title 'one pass for all branches', \
         '' using 2:(from(2, $10)) every 2::19::35 with linespoints lt least_line title 'floor'
} else {
    plot data using 2:(drawn($3)) every 2::1 with linespoints lt loaded_line title 'per-branch reading', \
         '' using 2:(drawn($3)) every 2::2 with linespoints lt one_pass_line title 'one pass for all branches', \
         '' using 2:(from(2, drawn($3 * $6 / $7))) every 2::2 with linespoints lt least_line title 'a read of the stored bytes'
}
