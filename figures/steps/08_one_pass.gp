# data: cpu_bandwidth.csv
step = 4
load 'figures/steps/cpu_rates.gnuplot'
