# data: l2_amortization.csv
step = 1
load 'figures/steps/gpu_rates.gnuplot'
