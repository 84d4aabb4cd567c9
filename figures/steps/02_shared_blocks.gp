# data: memory_dedup.csv
step = 2
load 'figures/steps/stored.gnuplot'
