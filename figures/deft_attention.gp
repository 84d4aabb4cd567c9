# Each strategy on DeFT's kinds of workloads, as a ratio to Radix.
width = 1200; height = 520
load 'figures/style.gnuplot'
rows = '< grep -v "^#" '.data.' | sed "s/\"//g; s/thoughts 1,10,50/thoughts/"'
set ylabel "Radix Attention's time / time (higher is faster)"
set logscale y 2
set yrange [0.1:40]
set xrange [-0.6:7.6]
set grid x
set key outside right
set xtics ('few-shot 20' 0, 'few-shot 30' 1, 'few-shot 50' 2, 'spec 32' 3, 'spec 64' 4, 'spec 128' 5, 'spec 256' 6, 'thoughts' 7)
set title "Attention of one step by strategy, the same kernel under all: grouping and cutting decide"
array radix[8]
stats rows using (radix[1 + int($0) / 8] = (int($0) % 8 == 2 ? $7 : radix[1 + int($0) / 8]), 0) every ::1 nooutput
name = 'flash flash_decoding radix tree_mask node node_chunk flatten cost'
plot for [s = 1:8] rows using (($0) * 1.0):(radix[int($0) + 1] / $7) every 8::s with points lt s ps 1.3 title word(name, s)
