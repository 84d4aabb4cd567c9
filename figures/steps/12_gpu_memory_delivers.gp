# data: l2_amortization.csv
step = 2
load 'figures/steps/gpu_rates.gnuplot'
