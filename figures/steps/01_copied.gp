# data: memory_dedup.csv
step = 1
load 'figures/steps/stored.gnuplot'
