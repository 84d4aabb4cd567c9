# data: l2_amortization.csv
step = 3
load 'figures/steps/gpu_rates.gnuplot'
