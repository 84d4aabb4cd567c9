# 32 branches with 200 own tokens each behind longer and longer prompts.
width = 960; height = 560; slide_type = 1.25
load 'figures/style.gnuplot'
rows(strategy) = sprintf("< grep ',%s,' '%s' | sed 's/\"//g'", strategy, data)
do for [s in 'radix cost'] {
    stats rows(s) using 1 name s.'_prompt' nooutput
    stats rows(s) using 7 name s.'_us' nooutput
}
set logscale xy
set xtics ('1K' 1024, '2K' 2048, '5K' 5120, '10K' 10240, '20K' 20480)
set xrange [900:24000]
set yrange [5:1500]
set xlabel 'tokens of the prompt (32 branches with 200 own tokens each)'
set ylabel 'us for one layer, cold L2'
set key top left reverse Left
set title sprintf("A prompt of %.0f times the length: per-branch reading takes %.1f times as long,\none pass for all branches %.1f times", radix_prompt_max / radix_prompt_min, radix_us_max / radix_us_min, cost_us_max / cost_us_min)
plot for [s in 'radix node_chunk flatten cost'] rows(s) using 1:7 with linespoints lt value(s) title s, \
     rows('cost') using 1:9 with lines lt floor_line title 'floor'
