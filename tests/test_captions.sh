#!/bin/bash
# Claim: every number in a caption or title of a figure follows from its csv, and the csv bears out the sentences that
# figures/*.awk names; scripts/captions.sh notices a number that does not and one that nothing derives, and rewrites
# the numbers after a new recording.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$TREEATTN_SOURCE_DIR" || exit 1

scripts/captions.sh >"$work/out" 2>&1
expect "all captions and titles: status" 0 $?
expect "all captions and titles: nothing to say" "" "$(cat "$work/out")"
scripts/captions.sh --list >"$work/out"
for figure in figures/*.gp; do
    stem=${figure##*/} stem=${stem%.gp}
    expect "$stem: numbers derived" 1 "$(awk -v s="$stem" '/^[^ ]/ { in_it = $0 == s } in_it && /^ .*[0-9]/ { n++ } END { print (n > 3) }' "$work/out")"
done

# The same texts with a mistake in them.
mkdir -p "$work/copy/docs" && cp -r scripts "$work/copy" && cp docs/{peers_h200.csv,deft_table4.csv,teaching.md} "$work/copy/docs"
fresh() { cd "$TREEATTN_SOURCE_DIR" && rm -rf "$work/copy/figures" && cp -r figures "$work/copy" && cd "$work/copy" || exit 1; }
notices() { # NAME FILE SED_SCRIPT MESSAGE
    fresh
    cp "figures/$2" before
    sed -i "$3" "figures/$2"
    expect "$1: there is the mistake" 1 "$(cmp -s before "figures/$2"; echo $?)"
    scripts/captions.sh "${2%.*}" >out 2>&1
    expect "$1: status" 1 $?
    expect_match "$1: the message" "$4" out
    cd "$TREEATTN_SOURCE_DIR" || exit 1
}
notices "a number of the caption" memory_dedup.md 's/reaches 96.6 %/reaches 96.7 %/' '96.7 in .*is 96.6 by the csv'
notices "a new number" ladder.md 's/^\*\*Again/It takes 17 us. &/' "number without derivation: '.*takes 17 us"
notices "a new number in words" ladder.md 's/^\*\*Again/It is twice as fast. &/' "number without derivation: '.*twice as fast"
notices "a new number in a title" ladder.gp 's/The largest gains/The 4 largest gains/' "number without derivation: '.*The 4 largest"
notices "a sentence that is gone" kv_io.md 's/All sums are exact.*//' "no text says 'The csv has two ways of counting'"
notices "a sentence that the csv refutes" cpu_bandwidth.csv 's/^cost,2,418.2,41.37/cost,2,418.2,61.37/' \
    'does not bear out: higher effective bandwidth is not nearer'
notices "a column that is gone" launch_fusion.csv 's/two_launches_us/other_us/' 'no column two_launches_us'
notices "a ceiling that is gone" l2_amortization.csv '/^# dram_gbps/d' 'no dram_gbps in the comment lines'
notices "a csv of another GPU beside the H200's peers" gpu_trees.csv 's/^# device: NVIDIA H200,/# device: NVIDIA A100-SXM4-80GB,/' \
    'does not bear out: on an H200'
notices "peers beside another GPU" gpu_trees.csv 's/^# device: NVIDIA H200,/# device: NVIDIA GH200 480GB,/' \
    'does not bear out: At 32/8 heads the mean is'
notices "a clock that is lower than the caption says" gpu_trees.csv 's/^\("6 levels, 1024",1024,32,32,.*,\)[0-9]*$/\1900/' \
    'is 900 by the csv'
for figure in figures/*.cu; do
    stem=${figure##*/} stem=${stem%.cu}
    notices "$stem of another GPU" "$stem.csv" 's/^# device: NVIDIA H200,/# device: NVIDIA A100-SXM4-80GB,/' 'does not bear out: .*H200'
done

# A new recording: the numbers are rewritten, and then all is well.
fresh
sed -i 's/^\(".*,cost,step_0_naive\),[0-9.]*/\1,9999.00/; s/_13_few_rows/_14_few_rows/' figures/ladder.csv
scripts/captions.sh ladder >out 2>&1
expect "new recording: noticed" 1 $?
scripts/captions.sh --write ladder >out 2>&1
expect "new recording: rewritten" "0 figures/ladder.md" "$? $(cat out)"
expect_match "new recording: the number of the last rung" 'the rung, 0 to 14\.' figures/ladder.md
expect "new recording: as many numbers as before" "$(grep -oE '[0-9.]+' "$TREEATTN_SOURCE_DIR/figures/ladder.md" | wc -l)" \
    "$(grep -oE '[0-9.]+' figures/ladder.md | wc -l)"

# Another GPU is drawn against its own lines, and none against no lines.
if command -v gnuplot >/dev/null; then
    fresh
    sed -i 's/^# dram_gbps: .*/# dram_gbps: 2039/' figures/l2_amortization.csv
    scripts/draw.sh l2_amortization 2>err
    expect "another GPU: drawn against its own memory" "0 4" "$? $(grep -c 'read of memory, 2.04 TB/s' figures/l2_amortization.svg)"
    sed -i 's/^# device: NVIDIA H200,/# device: NVIDIA A100-SXM4-80GB,/' figures/gpu_trees.csv
    scripts/draw.sh gpu_trees 2>err
    expect "another GPU: drawn without the H200's peers" "0 0 1" \
        "$? $(grep -cE 'others|faster on' figures/gpu_trees.svg) $(grep -c '<text>.*treeattn, plan cost' figures/gpu_trees.svg)"
    sed -i '/^# dram_gbps/d' figures/l2_amortization.csv
    scripts/draw.sh l2_amortization 2>err
    expect "no ceiling: no picture" 1 $?
    sed -i 's/step_13_few_rows/step_13_a/; /step_13_a/ { p; s/step_13_a/step_14_b/; p; s/step_14_b/step_15_c/; p; s/step_15_c/step_16_d/ }' figures/ladder.csv
    scripts/draw.sh ladder 2>err
    expect "more rungs: each has its place" "0 4" "$? $(grep -cE '>(13 a|14 b|15 c|16 d)<' figures/ladder.svg)"

    # A step's sentence and pages follow its csv; a slide is drawn beside the pictures, not over them.
    fresh
    sed -i 's/^branches,256,33792,1152,70866960384,2415919104/branches,256,33792,1152,70866960384,3221225472/' figures/memory_dedup.csv
    scripts/draw.sh steps/02_shared_blocks
    expect "a step of another csv: its sentence" "0 1" "$? $(grep -c '^<title>Shared blocks .*: 256 branches take 3.00 GiB' figures/steps/02_shared_blocks.svg)"
    scripts/lessons.sh 2>err
    expect "a step of another csv: both pages are noticed" "1 2" "$? $(grep -c '^< .*take 2.25 GiB' err)"
    scripts/lessons.sh --write >out
    expect "a step of another csv: the page is rewritten" "0 1" "$? $(grep -c 'take 3.00 GiB' figures/steps/README.md)"
    sed -i 's/^branches,256,/branches,255,/' figures/memory_dedup.csv
    scripts/draw.sh steps/02_shared_blocks 2>err
    expect "a step without its row: no picture" 1 $?
    fresh
    scripts/draw.sh steps/02_shared_blocks slide "$work/slides" 2>err
    expect "a slide: status" 0 $?
    expect "a slide: 1280 x 720" 1 "$(grep -c 'viewBox="0 0 1280 720"' "$work/slides/steps/02_shared_blocks.svg")"
    diff -r figures "$TREEATTN_SOURCE_DIR/figures" >out
    expect "a slide: recorded pictures stay" "0" "$?"
    scripts/draw.sh steps/02_shared_blocks large "$work/slides" 2>err
    expect "a size that is none: one line" "1 SIZE=large: expected page or slide" "$? $(cat err)"
    scripts/draw.sh steps/02_shared_blocks slide 2>err
    expect "a slide over a recorded picture: refused" "1 0" "$? $(diff -r figures "$TREEATTN_SOURCE_DIR/figures" | wc -l)"
else
    skip "another GPU: drawn against its own memory" "no gnuplot"
fi
finish
