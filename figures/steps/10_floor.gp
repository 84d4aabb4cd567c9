# data: cpu_bandwidth.csv
step = 2
gpu = 0
load 'figures/steps/times.gnuplot'
