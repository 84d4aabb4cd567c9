# data: l2_amortization.csv
step = 2
gpu = 1
load 'figures/steps/times.gnuplot'
