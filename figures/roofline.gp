# Operations per second against operations per loaded byte of K and V: a CPU and a GPU, their ceilings, and decoding.
width = 1240; height = 560
load 'figures/style.gnuplot'
set multiplot layout 1,2 margins 0.07,0.985,0.125,0.86 spacing 0.08,0.1
set logscale x 2
set logscale y
set xtics ('1/4' 0.25, '1' 1, '4' 4, '16' 16, '64' 64, '256' 256)
set xlabel 'floating-point operations per loaded byte of K and V'
set key bottom right reverse Left
set samples 400
pick(machine, plan, column) = strcol(1) eq machine && strcol(2) eq plan ? column(column) : NaN
number(machine, plan, told) = strcol(1) eq machine && strcol(2) eq plan && told ? strcol(3) : ''
smaller(a, b) = a < b ? a : b
larger(a, b) = a > b ? a : b
lowest = 0.125
along(row) = lowest * 2**(row * 0.03125)
do for [i = 1:2] {
    machine = i == 1 ? 'cpu' : 'gpu'; per_branch = i == 1 ? 'flash' : 'radix'
    memory = i == 1 ? ceiling('memory_gbps') : ceiling('gpu_memory_gbps')
    fp32 = i == 1 ? ceiling('simd_fp32_gflops') : 0; scalar = i == 1 ? ceiling('scalar_gflops') : 0
    peak = i == 1 ? larger(fp32, ceiling('simd_bf16_gflops')) : ceiling('gpu_matrix_gflops')
    unit = i == 1 ? 1 : 1000.0
    set autoscale # ranges would hide points from stats
    stats data using (pick(machine, per_branch, 7)) name 'B' nooutput
    set xrange [lowest:512]
    set yrange [(i == 1 ? 1 : 0.5):(i == 1 ? 1500 : 3000)]
    set title sprintf(i == 1 ? "CPU: per-branch reading does %.0f operations per byte;\nit would take %.0f to keep the SIMD units busy" \
                             : "GPU: per-branch reading does %.0f operations per byte;\nit would take %.0f to keep the tensor cores busy", B_max, peak / memory)
    set ylabel i == 1 ? 'GFLOP/s' : 'TFLOP/s'
    set label 1 i == 1 ? 'multiply-adds, SIMD' : 'products, tensor cores' at 480, peak / unit * 1.22 right
    set label 2 i == 1 ? 'scalar' : '' at 480, (i == 1 ? scalar / unit : 1) * 1.3 right
    set label 3 'memory' at lowest * 1.6, memory * lowest * 1.6 / unit * 1.5 rotate by 38 left
    plot '+' using (along($0)):(smaller(memory * along($0), peak) / unit) every ::::384 with lines lt floor_line dt 1 lw 3 title 'the roof', \
         '+' using (along($0)):(i == 1 ? smaller(memory * along($0), scalar) / unit : NaN) every ::::384 with lines lt dram_line notitle, \
         data using (pick(machine, per_branch, 7)):(pick(machine, per_branch, 8) / unit) with linespoints lt (i == 1 ? flash : radix) title 'per-branch reading', \
         '' using (pick(machine, 'cost', 7)):(pick(machine, 'cost', 8) / unit) with linespoints lt cost title 'one pass for all branches', \
         '' using (pick(machine, per_branch, 7)):(pick(machine, per_branch, 8) / unit):(number(machine, per_branch, $3 == 1 || $3 == 64)) with labels offset -1.6,0 font ',11' notitle, \
         '' using (pick(machine, 'cost', 7)):(pick(machine, 'cost', 8) / unit):(number(machine, 'cost', $3 > 1)) with labels offset 1.8,-0.3 font ',11' notitle
}
unset multiplot
