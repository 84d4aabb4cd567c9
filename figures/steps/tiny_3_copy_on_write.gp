# data: steps/tiny.csv
step = 3
load 'figures/steps/tiny.gnuplot'
