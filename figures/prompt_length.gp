# 32 branches of 200 tokens behind longer and longer prompts.
width = 900; height = 500
load 'figures/style.gnuplot'
rows = '< grep -v "^#" '.data.' | sed "s/\"//g"'
set logscale xy
set xtics ('1K' 1024, '2K' 2048, '5K' 5120, '10K' 10240, '20K' 20480)
set xrange [900:24000]
set yrange [5:1200]
set xlabel 'tokens of the prompt'
set ylabel 'us for one layer, cold'
set key top left reverse Left
set title "Behind a long prompt a pass a branch costs in proportion to branches x prompt"
name = 'radix node_chunk flatten cost'
plot for [s = 1:4] rows using 1:7 every 4::s with linespoints lt s title word(name, s), \
     rows using 1:9 every 4::1 with lines lt 7 title 'floor'
