# Host and device time of each step of a decode loop, with an update in every step and without.
width = 1240; height = 520
load 'figures/style.gnuplot'
# event: from this number on, a plan is sent
first = system(sprintf("grep -c '^# event: 0 nothing, 1 a block begins' '%s'", data)) + 1
stats data using 6 every ::2 name 'plan' nooutput
stats data using 10 every ::2 name 'sent' nooutput
stats data using ($4 < first ? $6 : NaN) every ::1 name 'growth' nooutput
stats data using ($4 >= first ? $6 : NaN) every ::2 name 'event' nooutput
stats data using ($9 / 1000) every ::1 name 'device' nooutput
set multiplot layout 1,2 margins 0.06,0.975,0.13,0.84 spacing 0.075,0.1
set xlabel 'step'
set xrange [0:1000]
set xtics 200
set logscale y
set yrange [0.05:3000]
set ytics ('0.1' 0.1, '1' 1, '10' 10, '100' 100, '1000' 1000)
set ylabel 'us of the host, for the plan'
set key top right reverse Left maxrows 3
set title sprintf("The plan: %.1f us of the host where branches only grow,\n%.0f where some fork or end; %.1f in the mean, sent each time %.1f", growth_mean, event_mean, plan_mean, sent_mean)
plot data using 1:10 every ::1 with points lt copied pt 7 ps 0.12 title 'a plan sent in every step', \
     '' using 1:($4 < first ? ($6 > 0.05 ? $6 : 0.05) : NaN) every ::1 with points lt cost pt 7 ps 0.2 title 'the device follows by itself', \
     '' using 1:($4 >= first ? $6 : NaN) every ::1 with points lt radix pt 9 ps 0.7 title 'plan event: built, or sent'
set ylabel 'us of the device, 8 layers'
unset logscale
set yrange [0:700]
set ytics auto
set title sprintf("The device: %.2f ms for 8 layers of attention", device_mean)
plot data using 1:12 every ::1 with lines lt copied lw 1 title 'a plan sent in every step', \
     '' using 1:9 every ::1 with lines lt cost lw 1 title 'the device follows by itself'
unset multiplot
