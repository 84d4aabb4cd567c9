# data: l2_amortization.csv
step = 1
gpu = 1
load 'figures/steps/times.gnuplot'
