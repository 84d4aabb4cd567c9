# data: cpu_bandwidth.csv
step = 1
gpu = 0
load 'figures/steps/times.gnuplot'
