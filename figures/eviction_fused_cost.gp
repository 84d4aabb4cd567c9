# What a victim for each branch costs beside attention alone: by step, length, batch and head_dim.
width = 1240; height = 560; slide_type = 1
load 'figures/style.gnuplot'
# ratio of a variant against a column, sorted; the last variant of the csv is the last step
rows(condition) = sprintf("< grep -v '^#' '%s' | awk -F, '$2 == \"bf16\" && %s' | sort -t, -k3,3n -k4,4n", data, condition)
last = system(sprintf("tail -n 1 '%s' | cut -d , -f 5", data))
of(variant) = sprintf('$1 == 128 && $5 == "%s"', variant)
at_length(variant) = rows(of(variant).' && $3 == 16')
at_batch(variant) = rows(of(variant).' && $4 == 3200')
stats at_batch(last) using (100 * ($7 - 1)) name 'fused' nooutput
set multiplot layout 1,3 margins 0.06,0.985,0.29,0.88 spacing 0.06,0.1
set logscale xy
set yrange [0.8:60]
set ytics ('1' 1, '1.5' 1.5, '2' 2, '3' 3, '5' 5, '10' 10, '20' 20, '40' 40)
set key outside bottom center vertical maxrows 3 reverse Left
set xrange [420:20000]
set xtics ('512' 512, '1K' 1024, '2K' 2048, '4K' 4096, '8K' 8192, '16K' 16384)
set xlabel 'tokens of each of 16 branches'
set ylabel 'time / time of attention alone, cold L2' offset 1
set title "Length varied, 16 branches"
plot at_length('evict_0_materialised') using 4:7 with linespoints lt 24 title 'everything materialised', \
     at_length('evict_1_second_pass') using 4:7 with linespoints lt 23 title 'K and V read again', \
     at_length('evict_2_keys_again') using 4:7 with linespoints lt 22 title 'K read again', \
     at_length(last) using 4:7 with linespoints lt 21 title 'fused', \
     1 with lines lt floor_line title 'attention alone'
set xrange [0.8:330]
set xtics ('1' 1, '4' 4, '16' 16, '64' 64, '256' 256)
set xlabel 'branches of 3200 tokens'
set ylabel ''
set title "Batch varied, 3200 tokens"
plot at_batch('evict_0_materialised') using 3:7 with linespoints lt 24 notitle, \
     at_batch('evict_1_second_pass') using 3:7 with linespoints lt 23 notitle, \
     at_batch('evict_2_keys_again') using 3:7 with linespoints lt 22 notitle, \
     at_batch(last) using 3:7 with linespoints lt 21 notitle, \
     1 with lines lt floor_line notitle
unset logscale y
set yrange [0:*]
set ytics auto
set xlabel 'branches of 3200 tokens'
set ylabel '% over attention alone' offset 1
set title sprintf("Fused: %.0f to %.0f %% at head_dim 128", fused_min, fused_max)
dims = '64 128 256'; markers = '8 7 4'; dashes = '3 0 10'
at_dim(d) = rows(sprintf('$1 == %s && $5 == "%s" && $4 == 3200', word(dims, d), last))
predicted(d) = sprintf("< grep -v '^#' '%s' | awk -F, '$1 == %s && $2 == \"bf16\" && $4 == 3200 && $5 == \"attention\" { one[$3] = $8 } $1 == %s && $2 == \"bf16\" && $4 == 3200 && $5 == \"%s\" { print $3 \",\" 100 * ($8 / one[$3] - 1) }' | sort -t, -n", data, word(dims, d), word(dims, d), last)
plot at_dim(1) using 3:(100 * ($7 - 1)) with linespoints lt 21 dt (3,3) pt 8 title 'head_dim 64', \
     at_dim(2) using 3:(100 * ($7 - 1)) with linespoints lt 21 title 'head_dim 128', \
     at_dim(3) using 3:(100 * ($7 - 1)) with linespoints lt 21 dt (10,4) pt 4 title 'head_dim 256', \
     for [d = 1:3] predicted(d) using 1:2 with lines lt floor_line lw 1.2 title d == 1 ? 'predicted from bytes' : ''
unset multiplot
