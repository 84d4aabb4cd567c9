# data: cpu_bandwidth.csv
step = 3
load 'figures/steps/cpu_rates.gnuplot'
