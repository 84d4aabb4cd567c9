# data: cpu_bandwidth.csv
step = 1
load 'figures/steps/cpu_rates.gnuplot'
