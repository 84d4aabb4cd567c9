# data: memory_dedup.csv
step = 1
load 'figures/steps/searched.gnuplot'
