# Shared by all figures: load it first. Needs `data` and `image`; the suffix of `image` picks the terminal.
# width, height: of the picture in points, set before loading. size: 'page', or 'slide' for a projector, 1280 x 720 with
# larger type and thicker lines (make figures SIZE=slide). slide_type: how much larger, where a figure has room for more.
if (!exists('width')) width = 960
if (!exists('height')) height = 480
if (!exists('size')) size = 'page'
type_scale = 1; line_scale = 1
if (!exists('slide_type')) slide_type = 1.12
if (size eq 'slide') {
    type_scale = slide_type * (1280.0 / width < 720.0 / height ? 1280.0 / width : 720.0 / height)
    line_scale = 1.6; width = 1280; height = 720
}
if (strstrt(image, '.svg') > 0) {
    set terminal svg size width,height dynamic font 'DejaVu Sans,14' fontscale type_scale linewidth line_scale background 'white'
    set title font ',15'
} else {
    set terminal pngcairo size 1.5*width,1.5*height font 'DejaVu Sans,15' fontscale type_scale linewidth 1.5*line_scale pointscale 1.4*line_scale background 'white'
    set title font ',16.5'
}
set output image
set datafile separator ','
set border 3 lc rgb '#444444'
set tics out nomirror
set grid lc rgb '#dddddd' lt 1 lw 0.7
set termoption noenhanced
set key noenhanced samplen 2 spacing 1.2

# A colour and a marker for each strategy, in all figures. Their luminance, in grey, goes from 0.74 (node) to 0.18 (cost).
flash = 1; flash_decoding = 2; radix = 3; tree_mask = 4; node = 5; node_chunk = 6; flatten = 7; cost = 8
strategies = 'flash flash_decoding radix tree_mask node node_chunk flatten cost'
set linetype 1 lc rgb '#e8a317' lw 2.5 dt (3,3) pt 2
set linetype 2 lc rgb '#e8711a' lw 2.5 dt (9,4) pt 11
set linetype 3 lc rgb '#c62828' lw 2.5 dt (14,5) pt 9
set linetype 4 lc rgb '#b07cd0' lw 2.5 dt (6,3,2,3) pt 15
set linetype 5 lc rgb '#a5d86a' lw 2.5 dt (2,4) pt 4
set linetype 6 lc rgb '#3a9a40' lw 2.5 dt (18,4) pt 13
set linetype 7 lc rgb '#00695c' lw 2.5 dt (12,4,3,4) pt 5
set linetype 8 lc rgb '#0b2f7f' lw 2.5 dt 1 pt 7

# Not strategies: K and V copied for each branch, the kernels of others, and the lines that nothing can pass.
copied = 9; others = 10; floor_line = 11; dram_line = 12; l2_line = 13
set linetype 9 lc rgb '#8c8c8c' lw 2.5 dt (10,6) pt 1
set linetype 10 lc rgb '#a0673c' lw 2.5 dt 1 pt 12
set linetype 11 lc rgb '#000000' lw 2 dt (2,2) pt 3
set linetype 12 lc rgb '#000000' lw 2 dt (8,4)
set linetype 13 lc rgb '#5a5a5a' lw 2 dt (8,3,2,3)

# Several trees or steps under one strategy, cost.
set linetype 21 lc rgb '#0b2f7f' lw 2.5 dt 1 pt 7
set linetype 22 lc rgb '#3f76cf' lw 2.5 dt (10,4) pt 4
set linetype 23 lc rgb '#86b0ea' lw 2.5 dt (3,3) pt 8
set linetype 24 lc rgb '#7a7f87' lw 2.5 dt (14,4,3,4) pt 12

# Eviction policies. Their luminance, in grey, goes from 0.75 (sink_window) to 0 (random_victim).
random_victim = 31; longflow = 32; h2o = 33; rkv = 34; vatp = 35; current_mass = 36; exact_deletion = 37; sink_window = 38; random = 39
snapkv = 60; longflow_l2 = 61
set linetype 31 lc rgb '#000000' lw 2.5 dt (2,3) pt 3
set linetype 32 lc rgb '#0b2f7f' lw 3 dt 1 pt 7
set linetype 33 lc rgb '#c62828' lw 2.5 dt (14,5) pt 9
set linetype 34 lc rgb '#3a9a40' lw 2.5 dt (18,4) pt 13
set linetype 35 lc rgb '#e8711a' lw 2.5 dt (9,4) pt 11
set linetype 36 lc rgb '#b07cd0' lw 2.5 dt (6,3,2,3) pt 4
set linetype 37 lc rgb '#86b0ea' lw 2.5 dt (12,4,3,4) pt 6
set linetype 38 lc rgb '#f0c040' lw 2.5 dt (4,4) pt 2
set linetype 39 lc rgb '#7d7d7d' lw 2.5 dt (2,5) pt 8
set linetype 60 lc rgb '#8a5a2b' lw 2.5 dt (8,3,2,3) pt 12
set linetype 61 lc rgb '#2f9fb0' lw 2.5 dt (10,3,4,3) pt 14

# Memory of a tree that forgets: shared blocks, by scope, and copied out of shared blocks. The last four: regimes.
shared_blocks = 41; own_budget = 42; cow_blocks = 43; voted = 44
set linetype 41 lc rgb '#0b2f7f' lw 2.5 dt 1 pt 7
set linetype 42 lc rgb '#00695c' lw 2.5 dt (12,4,3,4) pt 5
set linetype 43 lc rgb '#c62828' lw 2.5 dt (14,5) pt 9
set linetype 44 lc rgb '#e8a317' lw 2.5 dt (3,3) pt 6
regime_1 = 45; regime_2 = 46; regime_3 = 47; regime_4 = 48
set linetype 45 lc rgb '#86b0ea' lw 2.5 dt (3,3) pt 4
set linetype 46 lc rgb '#0b2f7f' lw 2.5 dt (10,4) pt 5
set linetype 47 lc rgb '#e8711a' lw 2.5 dt (14,4,3,4) pt 12
set linetype 48 lc rgb '#c62828' lw 2.5 dt 1 pt 9

# A ceiling that was measured on the same GPU, from the csv's comment lines ("# dram_gbps: 4550"); without one gnuplot
# ends with an error, because a message is no number.
ceiling(name) = real(system(sprintf("sed -n 's/^# %s: //p' '%s' | grep . || echo 'no %s in the csv'", name, data, name)))
