# Shared by all steps: a sequence (stored.gnuplot and others) loads it first. Needs `data`, `image` and `step`, the number
# of the picture in its sequence. An element that is new in it is emphasised, earlier ones are grey, later ones absent;
# the frame has elements of step 0.
width = 960; height = 540; slide_type = 1.25
load 'figures/style.gnuplot'
unset key
set lmargin at screen 0.1
set rmargin at screen 0.74 # beyond it: the names of the lines
set tmargin at screen 0.83
set bmargin at screen 0.13

# A line keeps its dashes and marker when its colour goes. Per-branch reading has one colour whether plan flash or radix
# does it: both load the same bytes.
copied_line = 71; shared_line = 72; loaded_line = 73; delivered_line = 74; one_pass_line = 75; memory_line = 76; cache_line = 77; least_line = 78
array colour[78]; array looks[78]
colour[71] = '#8a5a2b'; looks[71] = 'dt (10,5) pt 1'
colour[72] = '#0b2f7f'; looks[72] = 'dt 1 pt 7'
colour[73] = '#c62828'; looks[73] = 'dt (14,5) pt 9'
colour[74] = '#00695c'; looks[74] = 'dt (6,3,2,3) pt 5'
colour[75] = '#0b2f7f'; looks[75] = 'dt 1 pt 7'
colour[76] = '#000000'; looks[76] = 'dt (8,4) pt 0'
colour[77] = '#7b3fa0'; looks[77] = 'dt (8,3,2,3) pt 0'
colour[78] = '#000000'; looks[78] = 'dt (2,2) pt 3'
# eval element(LINE, FIRST_STEP) . name(LINE, FIRST_STEP, X, Y, TEXT): its look, and its name at its right end.
element(line, first) = first > step ? '' : \
    sprintf("set linetype %d lc rgb '%s' lw %g %s ps %g; ", line, first == step ? colour[line] : '#8c8c8c', \
            first == step ? 4.5 : 2.2, looks[line], first == step ? 1.1 : 0.8)
name(line, first, x, y, text) = first > step ? '' : \
    sprintf("set label %d \"%s\" at %.9g,%.9g left offset 1.2,0 textcolor rgb '%s' font '%s'; ", line, text, x, y, \
            first == step ? colour[line] : '#5f5f5f', first == step ? 'DejaVu Sans Bold,14' : ',14')
from(first, value) = first > step ? NaN : value

# From the csv: the value of a column in the one row with "series=branches x=256", by the functions of the captions; the
# number at %s in a comment line; the tokens of a branch, "2048 shared + 64 own tokens".
at(where, column) = real(system(sprintf("awk -f figures/numbers.awk -f figures/steps/at.awk -v where='%s' -v name='%s' '%s'", \
                                        where, column, data)))
told(text) = real(system(sprintf("sed -n 's/^# " . text . ".*/\\1/p' '%s'", "\\([0-9]*\\)", data)))
branch_tokens = system(sprintf("sed -n 's/^# tree: \\(.* tokens\\) .*/\\1/p' '%s'", data))

# The lesson is the picture's title; scripts/draw.sh writes it into the svg as well, for readers that do not see.
set print '-'
lesson(text) = sprintf("set label 99 \"%s\" at screen 0.03,0.945 left font ',18'; print \"%s\"", text, text)
