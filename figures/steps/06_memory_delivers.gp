# data: cpu_bandwidth.csv
step = 2
load 'figures/steps/cpu_rates.gnuplot'
