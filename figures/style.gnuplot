# What all figures share: load it first. Needs `data` and `image`; the suffix of `image` picks the terminal.
# width, height: of the picture in points, set before loading.
if (!exists('width')) width = 960
if (!exists('height')) height = 480
if (strstrt(image, '.svg') > 0) {
    set terminal svg size width,height dynamic font 'DejaVu Sans,13' background 'white'
    set title font ',14.5'
} else {
    set terminal pngcairo size 1.5*width,1.5*height font 'DejaVu Sans,14' linewidth 1.5 pointscale 1.4 background 'white'
    set title font ',16'
}
set output image
set datafile separator ','
set border 3 lc rgb '#444444'
set tics out nomirror
set grid lc rgb '#dddddd' lt 1 lw 0.7
set termoption noenhanced
set key noenhanced samplen 2 spacing 1.2

# Okabe and Ito's palette, each colour with a dash and a point of its own.
set linetype 1 lc rgb '#0072b2' lw 2.5 dt 1 pt 7
set linetype 2 lc rgb '#d55e00' lw 2.5 dt (12,5) pt 5
set linetype 3 lc rgb '#009e73' lw 2.5 dt (3,3) pt 9
set linetype 4 lc rgb '#cc79a7' lw 2.5 dt (12,4,3,4) pt 11
set linetype 5 lc rgb '#e69f00' lw 2.5 dt (18,4) pt 13
set linetype 6 lc rgb '#56b4e9' lw 2.5 dt (6,3,2,3) pt 15
set linetype 7 lc rgb '#000000' lw 2.5 dt (2,2) pt 3
set linetype 8 lc rgb '#999999' lw 2.5 dt 1 pt 2
