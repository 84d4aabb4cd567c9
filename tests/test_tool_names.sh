#!/bin/bash
# Claim: a file name is only a name: no shell and no gnuplot script takes a part of it for a command, in any place that
# takes a name. (tests/test_tool_picture.c tries more names on demo's folder, test_figure_csv.c on a csv.)
# Not sanitized: it is about shells; test_tool_output runs the program with an odd name.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
# shellcheck disable=SC2016 # nothing in a name may be expanded
names=('|touch x;#' '<touch x;#' "it's "'"$(touch x)`touch x`\ %s' $'-e\ntouch x')
cd "$work" || exit 1
has_gnuplot=$(command -v gnuplot)
files_in() { (cd -- "$1" && find . -mindepth 1 | sed 's#^\./##' | LC_ALL=C sort | tr '\n' ' '); }

# treeattn: the folder of demo, the file of replay and plan.
all_files='tree.csv tree.gp tree.txt '
[ -z "$has_gnuplot" ] || all_files='tree.csv tree.gp tree.png tree.svg tree.txt '
for name in "${names[@]:0:2}"; do
    mkdir here && cd here || exit 1
    run demo --out "$name"
    expect "demo $name: status, files" "0 $all_files" "$status $(files_in "$name")"
    expect "demo $name: nothing beside its folder" "$name" "$(ls -A)"
    cd .. && rm -rf here
done
for name in "${names[@]}"; do
    mkdir here && cd here || exit 1
    cp "$TREEATTN_SOURCE_DIR/tests/tool_small.ttr" "./$name"
    run replay "./$name" --format csv
    expect "replay $name" "0 9" "$status $(column iterations)"
    run plan --trace "$name"
    expect "plan $name: status" 0 "$status"
    expect "replay, plan $name: nothing beside it" "$name" "$(ls -A)"
    cd .. && rm -rf here
done

# scripts/draw.sh and make figures: a figure by that name. The script uses data in the ways of figures/*.gp: in a command,
# in system(), by itself.
mkdir -p scratch/scripts scratch/figures && cd scratch || exit 1
cp "$TREEATTN_SOURCE_DIR/Makefile" .
cp "$TREEATTN_SOURCE_DIR"/scripts/{draw.sh,setup.sh} scripts
cp "$TREEATTN_SOURCE_DIR/figures/style.gnuplot" figures
printf 'x,y\n1,2\n2,3\n' >data
cat >script <<'GP'
load 'figures/style.gnuplot'
rows = system(sprintf("grep -c , '%s'", data))
set title rows
plot '< grep , '.data skip 1 using 1:2 with lines, data skip 1 using 1:2
GP
draw_named() { # NAME COMMAND...: draws figures/NAME by the command
    local name=$1
    shift
    cp script "figures/$name.gp"
    cp data "figures/$name.csv"
    "$@" >"$work/out" 2>"$work/err" </dev/null
    expect "$* $name: status, a whole picture" "0 1" "$? $(grep -c 'gp+csv+style sha256' "figures/$name.svg")"
    rm -f "figures/$name".{gp,csv,svg,png}
    expect "$* $name: nothing else was made" \
        "Makefile data figures figures/style.gnuplot script scripts scripts/draw.sh scripts/setup.sh " "$(files_in .)"
}
if [ -n "$has_gnuplot" ]; then
    for name in "'.system('touch x').'" "${names[@]}"; do
        draw_named "$name" scripts/draw.sh "$name"
    done
    # shellcheck disable=SC2016
    draw_named 'a`id>x`'\''b' make figures # make splits names at blanks
else
    echo "skip test_tool_names no gnuplot"
fi
cd "$work" || exit 1

# The programs behind the figures: the csv.
measure=${TREEATTN_BIN%/*}/measure_memory_dedup
traces=$TREEATTN_SOURCE_DIR/../shared/traces
if [ -x "$measure" ] && [ -f "$traces/reason_sorting.ttr" ]; then
    mkdir here && cd here || exit 1
    "$measure" "${names[2]}" "$traces" >"$work/out" 2>&1 </dev/null
    expect "measure_memory_dedup ${names[2]}" "0 ${names[2]}" "$? $(ls -A)"
    cd .. && rm -rf here
else
    echo "skip test_tool_names no trace files beside the source"
fi

# No program calls a shell. This covers the programs that cannot run here, as the GPU's measuring programs.
found=$(cd "$TREEATTN_SOURCE_DIR" && grep -nE '\<(popen|system|wordexp) ?\(' allocator/*.[ch] reference/*.[ch] reference/*/*.[ch] \
    tools/*.[ch] measure/*.c* measure/*.h figures/*.c figures/*.cu gpu/*.c* gpu/*.h gpu/*/*.c* gpu/*/*.h)
expect "no popen and no system in any program" "" "$found"
finish
