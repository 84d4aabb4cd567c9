# data: steps/tiny.csv
step = 2
load 'figures/steps/tiny.gnuplot'
