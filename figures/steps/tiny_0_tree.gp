# data: steps/tiny.csv
step = 4
load 'figures/steps/tiny_path.gnuplot'
