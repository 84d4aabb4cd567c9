# Each rung's time over the floor, on four trees with plan cost.
width = 1240; height = 600; slide_type = 1.25
load 'figures/style.gnuplot'
# Tree, rung, its number, time / floor; a new tree begins with rung 0. Then the gains of each rung over the one before.
rows = '< grep "plan,step\|,cost," '.data.' | awk -F, ''NR > 1 { gsub(/"/, ""); sub(/step_/, "", $6); n = $6 + 0; sub(/^[0-9]+_/, "", $6);' \
     . ' gsub(/_/, " ", $6); print $1 "," n " " $6 "," n "," $7 / $9 "," us / $7; us = $7 }'''
names = system(sprintf("grep ',cost,' '%s' | cut -d '\"' -f 2 | uniq | tr ' ' '_'", data))
tree(i) = system("echo '".word(names, i)."' | tr _ ' ' | sed 's/branches of \\([0-9]*\\)/branches with \\1 tokens each/; s/branch of \\([0-9]*\\)/branch with \\1 tokens/'")
num_steps = int(system(sprintf("grep -c '%s.*,cost,' '%s'", system("echo '".word(names, 1)."' | tr _ ' '"), data)))
# The three rungs that gain most, by geometric mean over the trees, each with its least and largest gain, in steps' order.
largest = system(rows[3:*]." | awk -F, '$3 > 0 { n[$2]++; l[$2] += log($5); if (!($2 in a) || $5 < a[$2]) a[$2] = $5; if ($5 > b[$2]) b[$2] = $5 }" \
     . " END { for (k in l) printf \"%.9f,%s,%.1f,%.1f\\n\", l[k] / n[k], k, a[k], b[k] }' | sort -t, -k1,1gr | head -n 3 | sort -t, -k2,2n" \
     . " | awk -F, '{ t = t (NR > 1 ? \", \" : \"\") $2 \" (\" $3 \" to \" $4 \" times)\" } END { print t }'")
set logscale y
set yrange [1:4000]
set ytics ('1' 1, '3' 3, '10' 10, '30' 30, '100' 100, '300' 300, '1000' 1000, '3000' 3000)
set xrange [-0.4:num_steps - 0.6]
set ylabel 'time / floor (1: the floor)'
set xtics rotate by -25
set title "The largest gains over the rung before:\n".largest
set key top right
plot for [i = 1:words(names)] rows using 3:4:xtic(2) every ::(num_steps * (i - 1))::(num_steps * i - 1) with linespoints lt 20 + i ps 1.2 \
     title tree(i)
