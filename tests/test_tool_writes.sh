#!/bin/bash
# Claim: the output of a verb or a script is complete, or a message says that it is incomplete and the status is not 0:
# on a full disk, at a file's size limit, with a closed standard output, and when gnuplot or another program that it
# runs fails.
# shellcheck disable=SC2016 # bodies of stubs
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
cd "$work" || exit 1
trap '' XFSZ # inherited: a file that reaches its limit is an error of the write, as a full disk

# Standard output of every verb and format: a full disk, closed.
fails_to_write() { # NAME STATUS: what the last program wrote on stderr is in $work/err
    expect "$1: status" 1 "$2"
    expect_match "$1: one line says it" '^1 .*could not write to standard output' \
        <(echo "$(wc -l <"$work/err") $(cat "$work/err")")
}
PATH_without_gnuplot=$work/empty
mkdir "$PATH_without_gnuplot"
while IFS='|' read -ra words; do
    PATH=$PATH_without_gnuplot "$TREEATTN_BIN" "${words[@]}" >/dev/full 2>"$work/err"
    fails_to_write "full: ${words[*]##*/}" $?
    PATH=$PATH_without_gnuplot "$TREEATTN_BIN" "${words[@]}" >&- 2>"$work/err"
    fails_to_write "closed: ${words[*]##*/}" $?
done <<END_OF_VERBS
--help
--version
step|--help
step
step|--format|csv
step|--format|json
plan|--tree|1,3 / 40,20
plan|--tree|1,3 / 40,20|--format|csv
plan|--tree|1,3 / 40,20|--format|json
replay|$small
replay|$small|--format|csv
replay|$small|--format|json
evict|--stream|topics|--tokens|20|--policy|longflow|--show
evict|--trace|$small|--format|csv
evict|--trace|$small|--format|json
doctor
doctor|--format|csv
doctor|--format|json
END_OF_VERBS
PATH=$PATH_without_gnuplot "$TREEATTN_BIN" demo --out demo >&- 2>"$work/err"
fails_to_write "closed: demo" $?
expect "closed: nothing that was meant for it lies in a file" 0 "$(cat demo/* | grep -c 'agree')"

# demo on a small disk: with the size limit of a file in its place, and on one.
files_in() { (cd "$1" 2>/dev/null && find . -mindepth 1 | sed 's#^\./##' | LC_ALL=C sort | tr '\n' ' '); }
if command -v gnuplot >/dev/null; then
    (ulimit -f 12 && "$TREEATTN_BIN" demo --out limited >out 2>err)
    expect "picture cut at a limit: status" 1 $?
    expect_match "picture cut at a limit: the message" '^treeattn: limited/tree.svg was not drawn: gnuplot' err
    expect_match "picture cut at a limit: only what is whole is listed" 'tree.txt, gnuplot failed' out
    expect "picture cut at a limit: only that is there" "tree.csv tree.gp tree.txt " "$(files_in limited)"
    expect_match "picture cut at a limit: the rest is shown" '^8 plans agree ' out
    mkdir disk
    cat >on_disk.sh <<'SCRIPT'
mount -t tmpfs -o size="$1" none disk || exit 99
"$TREEATTN_BIN" demo --out disk/demo --format json >out 2>err
echo "$? $(cd disk/demo && echo *)"
SCRIPT
    export TREEATTN_BIN
    if unshare --map-root-user --mount mount -t tmpfs none disk 2>/dev/null; then
        unshare --map-root-user --mount bash on_disk.sh 48k >seen 2>/dev/null
        expect "picture cut on a disk: status, files" "1 tree.csv tree.gp tree.txt" "$(cat seen)"
        expect_match "picture cut on a disk: the message" '^treeattn: disk/demo/tree.svg was not drawn: gnuplot' err
        expect "picture cut on a disk: only what is whole is listed" 0 "$(grep -c '"tree.svg"' out)"
    else
        echo "skip test_tool_writes no file system can be mounted here"
    fi
else
    echo "skip test_tool_writes no gnuplot"
fi

# scripts/draw.sh: recorded pictures stay as they are unless both new ones are whole.
mkdir -p scratch/scripts scratch/figures stubs
cp "$TREEATTN_SOURCE_DIR/scripts/draw.sh" scratch/scripts
echo "plot data" >scratch/figures/a.gp
echo "1,2" >scratch/figures/a.csv
touch scratch/figures/style.gnuplot
new_svg='echo "<svg><g></g></svg>" >"$image"' new_png='printf "PNG pixels IEND\\256B\`\\202" >"$image"'
draws() { # NAME STATUS SVG_SCRIPT PNG_SCRIPT: gnuplot does that for each picture
    cat >stubs/gnuplot <<STUB
#!/bin/bash
image=\${2##*image=\'} && image=\${image%%\'*}
case \$image in *svg) $3 ;; *) $4 ;; esac
STUB
    chmod +x stubs/gnuplot
    echo recorded | tee scratch/figures/a.svg >scratch/figures/a.png
    PATH=$work/stubs:$PATH bash -c "${5:-true} && scratch/scripts/draw.sh a" >out 2>err
    expect "draw.sh, $1: status" "$2" $?
    expect "draw.sh, $1: recorded pictures" $((2 * $2)) "$(cat scratch/figures/a.{svg,png} | grep -ac recorded)"
    expect "draw.sh, $1: nothing else" "a.csv a.gp a.png a.svg style.gnuplot " "$(files_in scratch/figures)"
    [ "$2" = 0 ] || expect_match "draw.sh, $1: a message" . err
}
draws "both whole" 0 "$new_svg" "$new_png"
draws "gnuplot ends with 1" 1 "$new_svg; exit 1" "$new_png"
draws "gnuplot is killed" 1 "$new_svg" "$new_png; kill -KILL \$\$"
draws "gnuplot writes nothing" 1 true true
draws "svg cut" 1 'printf "<svg><g></g></sv" >"$image"' "$new_png"
draws "png cut" 1 "$new_svg" 'printf "PNG pixels IEND" >"$image"'
draws "the signed svg does not fit" 1 'printf "%1000s</svg>\n" >"$image"' "$new_png" "ulimit -f 1"

# The other programs that write.
measure=${TREEATTN_BIN%/*}/measure_memory_dedup
traces=$TREEATTN_SOURCE_DIR/../shared/traces
if [ -x "$measure" ]; then
    printf '# commit: 123abc\nbranches,1,7\nsorting_t0,1,2,3\nsorting_t0,2,3,4\n' >a.csv
    for again in 1 2; do
        "$measure" a.csv "$work/none" >out 2>err
        expect "measure_memory_dedup without its trace, $again: the data of panel 3 stay" \
            "0 # kept from the recording of commit 123abc sorting_t0,1,2,3 sorting_t0,2,3,4" "$? $(tail -n 3 a.csv | paste -sd ' ')"
        expect "measure_memory_dedup without its trace, $again: the others are new" "1 9" \
            "$(grep -c '^# commit' a.csv) $(grep -c '^branches,' a.csv)"
        expect_match "measure_memory_dedup without its trace, $again: the message" \
            '^memory_dedup: panel 3 keeps its recorded data, because the trace reason_sorting.ttr was not found \(looked in' err
    done
    echo recorded >a.csv
    mkdir damaged && echo damaged >damaged/reason_sorting.ttr
    "$measure" a.csv "$work/damaged" >out 2>err
    expect "measure_memory_dedup with a damaged trace: the csv stays" "1 recorded" "$? $(head -n 1 a.csv)"
    "${measure%/*}/measure_kv_io" a.csv "$work/none" >out 2>err
    expect "measure_kv_io without its traces: the csv stays" "0 recorded" "$? $(head -n 1 a.csv)"
    expect_match "measure_kv_io without its traces: the message" '^kv_io: all panels keep their recorded data, because' err
    if [ -f "$traces/reason_sorting.ttr" ]; then
        (ulimit -f 1 && "$measure" a.csv "$traces" >out 2>err)
        expect "measure_memory_dedup at a limit: the csv stays" "1 recorded" "$? $(head -n 1 a.csv)"
        expect_match "measure_memory_dedup at a limit: the message" '^a.csv: File too large' err
        expect "measure_memory_dedup at a limit: nothing beside it" a.csv "$(echo a.csv*)"
    fi
fi
if command -v python3 >/dev/null; then
    printf '[{"data": {"0": {"id": 0, "value": 1, "start": 0, "end": 0, "children": []}}}]' >trees.json
    convert=$TREEATTN_SOURCE_DIR/scripts/deft_to_ttr.py
    python3 "$convert" reason a trees.json >/dev/full 2>err
    fails_to_write "deft_to_ttr.py, full" $?
    python3 "$convert" reason a trees.json >&- 2>err
    fails_to_write "deft_to_ttr.py, closed" $?
fi
commit=$TREEATTN_SOURCE_DIR/cmake/commit.cmake
(ulimit -f 0 && cmake -DSOURCE="$TREEATTN_SOURCE_DIR" -DOUT=commit.h -P "$commit" 2>&1) | cat >out
expect "commit.cmake at a limit: fails" 1 "${PIPESTATUS[0]}"
expect_match "commit.cmake at a limit: the message" 'commit.h' out

# scripts/coverage.sh: a machine of stubs; each program in turn fails.
cp -r "$TREEATTN_SOURCE_DIR/scripts" coverage
mkdir coverage/build
echo 'exit ${TESTS:-0}' >coverage/run_tests.sh
for program in cmake gcovr; do
    printf '#!/bin/bash\n[ "$FAIL" != "%s $1" ]\n' $program >stubs/$program
    chmod +x stubs/$program
done
covers() { # NAME STATUS VARIABLE=VALUE
    (cd coverage && mkdir -p scripts && cp run_tests.sh scripts && chmod +x scripts/run_tests.sh &&
        env "$3" PATH="$work/stubs:$PATH" bash coverage.sh build 1 >"${4:-$work/out}" 2>"$work/err")
    expect "coverage.sh, $1" "$2" "$(($? != 0))"
}
covers "all goes well" 0 FAIL=
covers "no configuration" 1 "FAIL=cmake -S"
covers "no build" 1 "FAIL=cmake --build"
covers "a test fails" 1 TESTS=1
covers "no counts" 1 "FAIL=gcovr --root"
covers "full" 1 FAIL= /dev/full
finish
