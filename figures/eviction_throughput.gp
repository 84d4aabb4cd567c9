# Tokens per second with the whole cache and with a capped one: at equal batch, and at the largest batch of a memory.
width = 1240; height = 560
load 'figures/style.gnuplot'
memory = ceiling('paper_gb')
rows(row, variant) = sprintf("< grep '^%s,.*,%s,' '%s' | sort -t, -k3,3n", row, variant, data)
at_memory(variant) = sprintf("< grep '^largest,%.0f,.*,%s,' '%s'", memory, variant, data)
stats at_memory('full') using 8 name 'full' nooutput
stats at_memory('full') using 3 name 'full_batch' nooutput
stats at_memory('capped') using 8 name 'capped' nooutput
stats at_memory('capped') using 3 name 'capped_batch' nooutput
first(variant) = sprintf("< grep '^equal,0,%.0f,.*,%s,' '%s'", full_batch_max, variant, data)
stats first('full') using 8 name 'equal_full' nooutput
stats first('capped') using 8 name 'equal_capped' nooutput
set multiplot layout 1,2 margins 0.075,0.985,0.27,0.88 spacing 0.085,0.1
set key outside bottom center vertical maxrows 2 reverse Left
set ylabel 'tokens per second: attention of all layers, and weights'
set yrange [0:*]
set logscale x 2
set xtics ('1' 1, '2' 2, '4' 4, '8' 8, '16' 16, '32' 32, '64' 64, '128' 128)
set xrange [0.9:130]
set xlabel 'sequences in a batch'
set title sprintf("Equal batch: %.1f times the tokens at %.0f sequences,\nthe most that the whole cache allows in %.0f GB", equal_capped_max / equal_full_max, full_batch_max, memory)
plot rows('equal', 'full') using 3:8 with linespoints lt copied title 'whole cache', \
     rows('equal', 'capped') using 3:8 with linespoints lt 21 title 'capped, fused', \
     rows('equal', 'capped_second_pass') using 3:8 with linespoints lt 23 title 'capped, K and V read again', \
     rows('equal', 'capped_without_eviction') using 3:8 with lines lt floor_line title 'capped, no choice of victims'
unset logscale x
set xtics auto
set xrange [0:84]
set xlabel 'GB for weights and caches'
set title sprintf("Largest batch that fits: %.1f times the tokens in %.0f GB,\n%.0f sequences in place of %.0f", capped_max / full_max, memory, capped_batch_max, full_batch_max)
plot rows('largest', 'full') using 2:8 with linespoints lt copied title 'whole cache', \
     rows('largest', 'capped') using 2:8 with linespoints lt 21 title 'capped, fused', \
     rows('largest', 'capped_second_pass') using 2:8 with linespoints lt 23 title 'capped, K and V read again', \
     rows('largest', 'capped_without_eviction') using 2:8 with lines lt floor_line title 'capped, no choice of victims'
unset multiplot
