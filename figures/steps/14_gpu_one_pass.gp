# data: l2_amortization.csv
step = 4
load 'figures/steps/gpu_rates.gnuplot'
