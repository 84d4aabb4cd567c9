# data: steps/tiny.csv
step = 1
load 'figures/steps/tiny.gnuplot'
