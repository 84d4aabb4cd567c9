# data: steps/tiny.csv
step = 5
load 'figures/steps/tiny.gnuplot'
