# Shared by all steps: a sequence (stored.gnuplot and others) loads it first. Needs `data`, `image` and `step`, the number
# of the picture in its sequence. An element that is new in it is emphasised, earlier ones are grey, later ones absent.
width = 960; height = 540
load 'figures/style.gnuplot'
unset key
set lmargin at screen 0.085
set rmargin at screen 0.76 # beyond it: the names of the lines
set tmargin at screen 0.82
set bmargin at screen 0.13

# eval element(LINETYPE, FIRST_STEP, COLOUR, DASHES, MARKER): a line keeps its dashes and marker when its colour goes.
element(lt, first, colour, dashes, marker) = first > step ? '' : \
    sprintf("set linetype %d lc rgb '%s' lw %g dt %s pt %d ps %g", lt, first == step ? colour : '#8c8c8c', \
            first == step ? 4.5 : 2.2, dashes, marker, first == step ? 1.1 : 0.8)
# eval name(LABEL, FIRST_STEP, COLOUR, X, Y, TEXT): the name of a line at its right end.
name(tag, first, colour, x, y, text) = first > step ? '' : \
    sprintf("set label %d \"%s\" at %s,%s left offset 0.9,0 textcolor rgb '%s' font '%s'", tag, text, x, y, \
            first == step ? colour : '#5f5f5f', first == step ? 'DejaVu Sans Bold,14' : ',14')
# A row's value is drawn if its element is there.
from(first, value) = first > step ? NaN : value

# The value of a column in the one row of the csv with "series=branches x=256", by the functions of the captions.
at(where, column) = real(system(sprintf("awk -f figures/numbers.awk -f figures/steps/at.awk -v where='%s' -v name='%s' '%s'", \
                                        where, column, data)))

# The lesson is the picture's title; scripts/draw.sh writes it into the svg as well, for readers that do not see.
set print '-'
titled(lesson) = sprintf("set label 99 \"%s\" at screen 0.03,0.945 left font ',18'; print \"%s\"", lesson, lesson)
