# Each rung's time over the floor, on three trees.
width = 1100; height = 520
load 'figures/style.gnuplot'
rows = '< grep "plan,step\|,cost," '.data.' | sed "s/\"//g"'
set logscale y
set yrange [1:4000]
set xrange [-0.4:9.4]
set ylabel 'time / floor (1: nothing faster)'
set xtics rotate by -25 ('0 naive' 0, '1 coalesced' 1, '2 split' 2, '3 shared tile' 3, '4 tensor cores' 4, '5 pipeline' 5, '6 queue' 6, '7 one launch' 7, '8 masks' 8, '9 warpgroup' 9)
set title "Tensor cores and a pipeline are worth most; the queue is what short tasks needed"
set key top right
names = "'64 branches of 64 behind 2048' '10 branches of 400 behind 4000' '512 leaves on four levels'"
plot for [i = 1:3] rows using ($0):($7 / $9) every ::(10 * i - 9)::(10 * i) with linespoints lt i title word(names, i)
