#!/bin/bash
# Claim: tune measures plans on trees of its own, writes a profile with better prices that its judging trees confirm, or the
# default ones, the same from noisy and drifting times; a profile is whole or absent, and what cannot be written is not
# lost. plan and bench --gpu use a profile that they are told to read, and refuse one in which any line is damaged. The GPU
# is a stub, tests/fake_gpu_bench.c.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
program=$TREEATTN_BIN
fake=${TREEATTN_BIN%/*}/fake_gpu_bench
cd "$work" || exit 1
TREEATTN_BIN=$fake

# ---- a whole run ----
run tune --format csv --log log.csv
expect "tune: status, stderr" "0 0" "$status $(wc -l <err)"
expect "the file is named after the GPU" nvidia_fake.profile "$(echo ./*.profile | sed 's#^./##')"
expect "no other file stays" "./err ./log.csv ./nvidia_fake.profile ./out" "$(echo ./*)"
cp nvidia_fake.profile good.profile
cp out table.csv
expect "its lines, in this order" \
    "treeattn-profile gpu measured date driver commit rung multiprocessors l2_mib dram_gbps l2_gbps matrix_tflops launch_us \
token_bytes item_bytes partial_bytes row_bytes mask_bytes masked_rows tile_rows max_tile share_bytes merge_bytes wait_bytes share_workers cut_tokens \
rest_tokens rest_part fit_trees fit judge_trees judge end" \
    "$(grep -v '^#' good.profile | cut -d ' ' -f 1 | uniq | paste -sd ' ')"
expect "date" "$(date -u +%F)" "$(sed -n 's/^date //p' good.profile)"
expect "the GPU" "NVIDIA Fake 132 step_12_fake CUDA 13.0, runtime 13.0 50 1000 100 0.50" \
    "$(for key in gpu multiprocessors rung driver l2_mib dram_gbps matrix_tflops launch_us; do sed -n "s/^$key //p" good.profile; done | paste -sd ' ')"
# The table and the profile have the same trees and times.
expect "table and profile agree" "$(sed -nE 's/^(fit|judge) ([0-9]+)\/([0-9]+) ([^ ]*) ([^ ]*) ([^ ]*) ([a-z_]*) (.*)/\1|\8|\2|\3|\4|\5|\6|\7/p' good.profile)" \
    "$(sed -nE 's/^(fit|judge),"?([^"]*)"?,([0-9]+),([0-9]+),([^,]*),([^,]*),([^,]*),([a-z_]*),.*/\1|\2|\3|\4|\5|\6|\7|\8/p' table.csv)"
# of USE COLUMN: the geometric mean of fitted / default, and how many trees are more than 3 % behind before and after.
summary() {
    sed -nE "s/^$1 [0-9/]+ ([^ ]*) ([^ ]*) ([^ ]*) .*/\1 \2 \3/p" "$2" | awk '
        { sum += log($2 / $1); before += $1 > 1.03 * $3; after += $2 > 1.03 * $3 }
        END { printf "%.3f %d %d %d", exp(sum / NR), NR, before, after }'
}
read -r fit_ratio fit_trees fit_before fit_after <<<"$(summary fit good.profile)"
read -r judge_ratio judge_trees _ <<<"$(summary judge good.profile)"
# in_source NAME: how many trees an array of tools/tool_tune.c has.
in_source() { sed -n "/^static const tune_tree $1\[\]/,/^};/s/^    {\"//p" "$TREEATTN_SOURCE_DIR/tools/tool_tune.c" | wc -l; }
expect_match "docs/profiles.md says how many" "^1\\. \*Trees\.\* $fit_trees trees are for the fit, and $judge_trees others judge it;" \
    "$TREEATTN_SOURCE_DIR/docs/profiles.md"
all_trees=$((fit_trees + judge_trees))
expect "how many trees" "$(in_source fit_trees) $(in_source judge_trees) 1" "$fit_trees $judge_trees $((judge_trees > 20))"
expect "the fit is better by a tenth" 1 "$(awk -v r="$fit_ratio" 'BEGIN { print r < 0.93 }')"
expect "those that judge confirm it" 1 "$(awk -v r="$judge_ratio" 'BEGIN { print r < 0.95 }')"
expect "no tree more falls behind another plan" 1 "$((fit_after <= fit_before))"
expect_match "the means in the profile" "^# geometric mean of the times with these prices / with the default prices: $fit_ratio$" good.profile
expect_match "of those that judge" "^# geometric mean of these: $judge_ratio;" good.profile
expect "no tree both fits and judges" "" "$(sed -nE 's/^(fit|judge) ([0-9/]+) [^ ]* [^ ]* [^ ]* [a-z_]* (.*)/\2 \3/p' good.profile | sort | uniq -d)"
recorded=$(sed -n 's/^    {"[^"]*", "\([^"]*\)", "\([^"]*\)"},$/\1 \/ \2/p' "$TREEATTN_SOURCE_DIR/figures/gpu_trees.cu")
sed -nE 's/^(fit|judge) [0-9/]+ [^ ]* [^ ]* [^ ]* [a-z_]* (.*)/\2/p' good.profile >own
expect "none of them is one of figure gpu_trees" "22 $all_trees 0" "$(wc -l <<<"$recorded") $(wc -l <own) $(grep -cxFf own <<<"$recorded")"
# The log: every time; the plan of the fitted prices is among them for each tree, with the time of the profile.
expect "log: a heading, and lines as wide" "20 20" "$(sed 's/"[^"]*"/tree/' log.csv | awk -F, '{ print NF }' | sort -u | paste -sd ' ' | sed 's/^20$/20 20/')"
expect "log: of each tree" "$all_trees" "$(sed -nE 's/^("[^"]*",[0-9]+,[0-9]+),.*/\1/p' log.csv | sort -u | wc -l)"
expect "log: every plan" 8 "$(sed -nE 's/^"[^"]*",[0-9]+,[0-9]+,([a-z_]*),.*/\1/p' log.csv | sort -u | wc -l)"

# ---- the same from noisy times, and in each format ----
prices_of() { sed -n '/^token_bytes/,/^rest_part/p' "$1"; }
if [ "$sanitized" = 0 ]; then
    for kind in drifting noisy; do
        FAKE_GPU=$kind run tune --out $kind.profile
        expect "$kind: status" 0 "$status"
        read -r ratio _ <<<"$(summary judge $kind.profile)"
        expect "$kind: as good on the trees that judge" 1 "$(awk -v a="$ratio" -v b="$judge_ratio" 'BEGIN { print a < b + 0.02 }')"
    done
    expect "drifting clocks change no price" "$(prices_of good.profile)" "$(prices_of drifting.profile)"
    run tune
    expect_match "text: a table" '^judge  1,1 / 512,16 +32 +8 ' out
    expect_match "text: where it is" '^profile: nvidia_fake\.profile$' out
    expect_match "text: means" "^fitted / default, geometric mean: $fit_ratio of $fit_trees trees that fit, $judge_ratio of $judge_trees that judge$" out
fi
run tune --out -
expect "-: the profile alone, the same at every run" "$(cat good.profile)" "$(cat out)"

# ---- the program, with the measurement in a library beside it ----
mkdir there
cp "$program" there/treeattn
TREEATTN_BIN=$work/there/treeattn
expect_error "no library" 1 '^treeattn: tune: (its library is not built yet; make builds it|this program was built without CUDA; .*)$' \
    tune --out there/x.profile
expect "no library: no file" "there/treeattn" "$(echo there/*)"
cp "${program%/*}/libfake_bench.so" there/libtreeattn_bench.so
run tune --out -
expect "a library: the same profile" "$(cat good.profile)" "$(cat out)"
TREEATTN_BIN=$fake

# ---- prices that are worse on the trees that judge ----
FAKE_GPU=hostile run tune --out hostile.profile
expect "hostile: status" 0 "$status"
expect_match "hostile: said" '^treeattn: tune: the fitted prices are worse on the trees that judge: the profile has the default ones$' err
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv
cp out default.items
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv --profile hostile.profile
expect "hostile: the default plan" "$(cat default.items)" "$(cat out)"
FAKE_GPU=small run tune --out small.profile
single=$(grep -cE '^(fit|judge) .* 1,1 / ' good.profile)
expect "small: the others" "0 $((all_trees - single)) $((all_trees - single))" "$status $(grep -cE '^(fit|judge) ' small.profile) \
$(($(sed -n 's/^fit_trees //p' small.profile) + $(sed -n 's/^judge_trees //p' small.profile)))"
expect "small: a line for each tree" "$single" "$(grep -c '^treeattn: tune: 1,1 / [0-9,]* at .* heads is left out: ' err)"

# ---- what cannot be done, in one line ----
FAKE_GPU=none expect_error "no GPU" 1 '^treeattn: tune: no CUDA device ' tune
expect_error "a folder that is not there" 2 '^treeattn: tune: none/x\.profile: No such file' tune --out none/x.profile
FAKE_GPU=none expect_error "said before a GPU is looked for" 2 '^treeattn: tune: none/x\.profile: ' tune --out none/x.profile
expect_error "no file" 2 '^treeattn: tune: \.: expected a file' tune --out .
expect_error "a log that cannot be" 2 '^treeattn: tune: none/log: No such file' tune --log none/log
expect_error "no name" 2 "^treeattn: --out: expected the name of a file, or -; got ''" tune --out ''
expect_error "a table without a place" 2 '^treeattn: --format: works only with a table, and --out - writes none' tune --out - --format csv
expect_error "a log on standard output" 2 "^treeattn: --log: expected the name of a file, got '-'" tune --log -
expect_error "a log in the profile's place" 2 '^treeattn: --log: x\.both is the file of the profile' tune --out x.both --log x.both
expect_error "by another name" 2 '^treeattn: --log: \./x\.both is the file of the profile' tune --out x.both --log ./x.both
expect "no such file is left" "./x.both*" "$(echo ./x.both*)"
cp good.profile x.both
expect_error "an old one" 2 '^treeattn: --log: \./x\.both is the file of the profile' tune --out x.both --log ./x.both
expect "stays" "$(cat good.profile)" "$(cat x.both)"
expect_error "seconds" 2 "^treeattn: --seconds: expected a whole number from 1 to 600, got '0'" tune --seconds 0
echo old >kept.profile
# A full disk: the limit lies below the size of a profile. The old file stays, and the profile is not lost.
(ulimit -f 1; "$fake" tune --out kept.profile 2>err; echo "status $?") | cat >out
expect "full disk: the profile is not lost" "$(cat good.profile; echo status 1)" "$(cat out)"
expect "full disk: the old file" "old" "$(cat kept.profile)"
expect_match "full disk: said" 'kept\.profile could not be written \(File too large\): the profile is on standard output$' err
expect "full disk: no part of a file" "./kept.profile" "$(echo ./kept.profile*)"
FAKE_GPU=slow "$fake" tune --out kept.profile >out 2>err &
pid=$!
sleep 0.4
kill -INT $pid 2>/dev/null || kill -TERM $pid
kill -TERM $pid 2>/dev/null
wait $pid 2>/dev/null
expect "interrupted: ended by a signal" 1 "$(($? > 128))"
expect "interrupted: the old file, and no other" "old kept.profile" "$(cat kept.profile) $(echo kept.profile*)"

# ---- reading ----
run plan --tree '1,1 / 512,16' --strategy cost --items --format csv --block-tokens 8
cp out default.items
run plan --tree '1,1 / 512,16' --strategy cost --items --format csv --block-tokens 8 --profile good.profile
expect "plan: other prices, another plan" "0 1" "$status $(cmp -s out default.items; echo $?)"
for name in nvidia_h200 H200 'NVIDIA H200' rtx_4090 'GeForce RTX 4090' a100 nvidia_h100; do
    run plan --tree '1,1 / 512,16' --profile "$name"
    expect "plan: $name" "0 0" "$status $(wc -l <err)"
done
sed 's/^multiprocessors .*/multiprocessors 33/' good.profile >few.profile
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv --profile good.profile --workers 33
cp out by_workers
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv --profile few.profile
expect "plan: as many workers as multiprocessors" "$(cat by_workers)" "$(cat out)"
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv --profile few.profile --heads 32/32
cp out by_workers
run plan --tree '1,64 / 2048,64' --strategy cost --items --format csv --profile few.profile --heads 32/32 --workers 8
expect "plan: of 8 KV heads" "$(cat by_workers)" "$(cat out)"
TREEATTN_BIN=$program
expect_error "plan: no such profile" 2 "^treeattn: --profile: expected a file, with a \. or / in its name, or one of nvidia_a100, .*nvidia_h200; got 'b200'" \
    plan --tree '1,2 / 3,4' --profile b200
expect_error "plan: no such file" 2 '^treeattn: \./x: No such file' plan --tree '1,2 / 3,4' --profile ./x
expect_error "plan: a folder" 2 '^treeattn: \./: Is a directory' plan --tree '1,2 / 3,4' --profile ./
expect_error "plan: a CPU" 2 '^treeattn: --profile: works only with --target gpu' plan --tree '1,2 / 3,4' --profile h200 --target cpu
expect_error "plan: another strategy" 2 '^treeattn: --profile: works only with the strategy cost' \
    plan --tree '1,2 / 3,4' --profile h200 --strategy node
TREEATTN_BIN=$fake
run bench --gpu '1,1 / 512,16' --format csv --profile good.profile
expect "bench: no warning" "0 0" "$status $(wc -l <err)"
expect "bench: the profile is a column" "profile good.profile" "$(sed -n 's/.*,//p' out | tail -2 | paste -sd ' ')"
items=$(sed -n '$s/.*step_12_fake,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,\([0-9]*\),.*/\1/p' out)
run bench --gpu '1,1 / 512,16' --format csv
expect "bench: another plan" 1 "$([ "$items" != "$(sed -n '$s/.*step_12_fake,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,\([0-9]*\),.*/\1/p' out)" ] && echo 1)"
run bench --gpu '1,1 / 512,16' --profile h200
expect "bench: another GPU, one line" "0 1" "$status $(wc -l <err)"
expect_match "bench: said" '^treeattn: --profile h200: its prices are those of NVIDIA H200 with 132 multiprocessors; this is NVIDIA Fake with 132$' err
run bench --gpu '1,1 / 512,16' --profile few.profile
expect_match "bench: another number of multiprocessors" '^treeattn: --profile few\.profile: .* with 33 multiprocessors; this is NVIDIA Fake with 132$' err
sed 's/^gpu .*/gpu NVIDIA/' good.profile >brand.profile
run bench --gpu '1,1 / 512,16' --profile brand.profile
expect "bench: the first words of the name" "0 0" "$status $(wc -l <err)"
sed 's/^gpu .*/gpu NVIDIA Fa/' good.profile >brand.profile
run bench --gpu '1,1 / 512,16' --profile brand.profile
expect "bench: but whole words" "0 1" "$status $(wc -l <err)"
expect_error "bench: not on the CPU" 2 '^treeattn: --profile: works only with --gpu' bench --profile h200
expect_error "bench: another strategy" 2 '^treeattn: --profile: works only with the strategy cost' \
    bench --gpu '1,2 / 3,4' --strategy node --profile h200

# ---- damaged profiles ----
# refused FILE: status 2 and one line that begins with the file's name.
refused() {
    "$program" plan --tree '1,2 / 3,4' --profile "$1" >out 2>err </dev/null
    [ $? = 2 ] && [ "$(wc -l <err)" = 1 ] && grep -q "^treeattn: $1:" err && [ ! -s out ]
}
# The number of each line, but of trees only the first and the last. Under sanitizers some: each refusal starts a program.
awk '/^(fit|judge) / { if ($1 == key) { last = NR; next } } { if (last) print last; last = 0; key = $1 } !/^#/ { print NR }' \
    good.profile >numbers
[ "$sanitized" = 0 ] || sed -i -n '1~9p' numbers
expect "lines to damage" 1 "$(($(wc -l <numbers) > (sanitized ? 3 : 30)))"
missing='' doubled='' garbled='' cut=''
while read -r line; do
    sed "${line}d" good.profile >bad.profile
    refused bad.profile || missing+=" $line"
    sed "${line}p" good.profile >bad.profile
    refused bad.profile || doubled+=" $line"
    sed "${line}s/^/x/" good.profile >bad.profile
    refused bad.profile || garbled+=" $line"
    head -c "$(($(head -n "$line" good.profile | wc -c) - 2))" good.profile >bad.profile
    refused bad.profile || cut+=" $line"
done <numbers
expect "a line that is missing" "" "$missing"
expect "a line twice" "" "$doubled"
expect "an unknown key" "" "$garbled"
expect "a file that ends within a line" "" "$cut"
# bad NAME SED PATTERN
bad() {
    sed "$2" good.profile >bad.profile
    if refused bad.profile && grep -qE -- "$3" err; then pass "$1"; else fail "$1" "expected /$3/, got: $(cat err)"; fi
}
at() { grep -n "^$1 " good.profile | cut -d : -f 1 | head -1; }
bad "an unknown key" 's/^item_bytes/items_bytes/' "^treeattn: bad\.profile:$(at item_bytes): unknown key 'items_bytes'$"
bad "a number out of range" 's/^cut_tokens .*/cut_tokens 0/' \
    "^treeattn: bad\.profile:$(at cut_tokens): cut_tokens: expected a whole number from 1 to 1048576, got '0'$"
bad "too large" 's/^item_bytes .*/item_bytes 1073741825/' "from 0 to 1073741824, got '1073741825'$"
bad "no power of two" 's/^tile_rows .*/tile_rows 12/' "tile_rows: expected a power of two, got '12'$"
bad "no number" 's/^l2_mib .*/l2_mib 1e3/' "l2_mib: expected a number above 0, got '1e3'$"
bad "a negative one" 's/^row_bytes .*/row_bytes -2/' "row_bytes: expected a whole number from 0 to "
bad "blanks" 's/^row_bytes .*/row_bytes  2/' "row_bytes: expected a whole number from 0 to "
bad "neither yes nor no" 's/^measured .*/measured maybe/' "measured: expected yes or no, got 'maybe'$"
bad "no text" 's/^gpu .*/gpu /' "gpu: expected a text of 1 to 255 bytes$"
bad "another version" '1s/1/2/' "^treeattn: bad\.profile:1: expected 'treeattn-profile 1', the first line of a profile$"
bad "measured, but not" 's/^measured .*/measured no/' "damaged: no line 'source'$"
bad "measured, but from a data sheet" 's/^date/source x\ndate/' "damaged: a line 'source', although it says measured yes$"
bad "a tree too few" '/^judge.*6,60,600/d' "damaged: fit_trees $fit_trees and judge_trees $judge_trees, but $fit_trees lines 'fit' and $((judge_trees - 1)) lines 'judge'$"
bad "a tree without its plan" 's/^judge \(.*\) [a-z_]* \(1,1 .*\)/judge \1 \2/' "expected HEADS/KV DEFAULT_US FITTED_US OTHER_US STRATEGY NODES / TOKENS$"
bad "an unknown plan" 's/^judge \(.*\) [a-z_]* \(1,1 .*\)/judge \1 best \2/' "expected HEADS/KV DEFAULT_US "
bad "something behind the end" 's/^end$/end\nitem_bytes 3/' "expected nothing behind the line 'end'$"
bad "a byte that is no text" 's/^gpu .*/gpu NVIDIA\x01/' "expected a text, got the byte 0x01$"
: >bad.profile
if refused bad.profile; then pass "an empty file"; else fail "an empty file" "$(cat err)"; fi
head -c 70000 /dev/zero | tr '\0' '#' >bad.profile
if refused bad.profile; then pass "a large file"; else fail "a large file" "$(cat err)"; fi

# ---- the profiles of the sources ----
cd "$TREEATTN_SOURCE_DIR/tools/profiles" || exit 1
TREEATTN_BIN=$program
for profile in *.profile; do
    run plan --tree '1,64 / 2048,64' --profile "./$profile"
    expect "$profile can be read" "0 0" "$status $(wc -l <"$work/err")"
    expect "$profile has its GPU's name" "${profile%.profile}" \
        "$(sed -n 's/^gpu //p' "$profile" | tr '[:upper:] ' '[:lower:]_')"
done
profiles=(./*.profile)
expect "four GPUs" 4 "${#profiles[@]}"
# Those that were not measured: the default prices, scaled by the data sheet beside that of an H200 (docs/profiles.md).
value() { sed -n "s/^$2 //p" "$1"; }
for profile in "${profiles[@]}"; do
    [ "$(value "$profile" measured)" = no ] || continue
    expect "$profile: by the formula of docs/profiles.md" "$(awk -v early="$([ "$profile" = ./nvidia_h100.profile ] && echo 1)" -v sms="$(value "$profile" multiprocessors)" \
        -v gbps="$(value "$profile" dram_gbps)" -v tflops="$(value "$profile" matrix_tflops)" 'BEGIN {
            share = gbps / sms / (4800 / 132); row = 2 * gbps / tflops / (4800 / 989)
            printf "512 %.0f %.0f %.0f 64 16 16 64 %.0f 0 %.0f 64 16 4", 32768 * share, 3120 * share, row < 1 ? 1 : row, 98304 * share, early ? 108800 * share : 0
        }')" "$(for key in token_bytes item_bytes partial_bytes row_bytes mask_bytes masked_rows tile_rows max_tile share_bytes merge_bytes wait_bytes cut_tokens rest_tokens rest_part; do
            value "$profile" $key; done | paste -sd ' ')"
done
# The H200's: docs/profiles.md has the means and how many trees are more than 3 % behind, of the profile and of docs/tune_h200.csv.
doc=$TREEATTN_SOURCE_DIR/docs/profiles.md
# rows: lines 'NAME DEFAULT_US FITTED_US OTHER_US' become rows of the page's table.
rows() {
    awk '{ sum[$1] += log($3 / $2); count[$1]++
           b = 100 * ($2 / $4 - 1); a = 100 * ($3 / $4 - 1)
           if (b > 3) before[$1]++
           if (a > 3) after[$1]++
           if (count[$1] == 1 || b > worst_before[$1]) worst_before[$1] = b
           if (count[$1] == 1 || a > worst_after[$1]) worst_after[$1] = a }
         END { for (n in sum) { name = n; gsub("-", " ", name); printf "|%s|%d|%.3f|%d, at most %.1f %%|%d, at most %.1f %%|\n", name, count[n], exp(sum[n] / count[n]), before[n],
             worst_before[n], after[n], worst_after[n] } }'
}
{ sed -nE 's/^(fit|judge) [^ ]* ([^ ]*) ([^ ]*) ([^ ]*) .*/\1 \2 \3 \4/p' nvidia_h200.profile
  sed -nE 's/^step_([0-9]*)_[^,]*,"[^"]*",([0-9]*),([0-9]*),([^,]*),([^,]*),([^,]*),.*/step-\1,-\2\/\3 \4 \5 \6/p' "$TREEATTN_SOURCE_DIR/docs/tune_h200.csv"
} | rows >"$work/rows"
expect "nvidia_h200.profile and docs/tune_h200.csv: eight kinds of trees" 8 "$(wc -l <"$work/rows")"
expect "docs/profiles.md has their numbers" "" "$(grep -vxFf "$doc" "$work/rows")"
# Its prose: the prices that were fitted, the times of trees that gained or lost a hundredth, and which are more than 3 % behind.
tr '\n' ' ' <"$doc" >"$work/doc"
sed -nE 's/^(fit|judge) [^ ]* ([^ ]*) ([^ ]*) ([^ ]*) [a-z_]* (.*)/\2 \3 \4 \5/p' nvidia_h200.profile | awk '{
    tree = $4 " / " $6
    if ($2 / $1 > 1.01 || $1 / $2 > 1.01) { printf "`%s`[^`]*%s\n", tree, $1; printf "`%s`[^`]*%s\n", tree, $2 }
    for (i = 1; i <= 2; i++) if ($i > 1.03 * $3) printf "`%s`( is| was)? %.1f %%\n", tree, 100 * ($i / $3 - 1) }' >"$work/claims"
for key in merge_bytes wait_bytes rest_part; do echo "\`$key\` to $(value nvidia_h200.profile $key)"; done >>"$work/claims"
missing=''
while read -r claim; do
    grep -qE -- "$claim" "$work/doc" || missing+=" $claim;"
done <"$work/claims"
expect "docs/profiles.md: sixteen claims of its prose" "16 " "$(wc -l <"$work/claims") $missing"
expect "nvidia_h200.profile was measured" yes "$(value nvidia_h200.profile measured)"
# docs/plans.md, *Alone*: the plan that cost makes now, by the times of its pieces in docs/pieces_h200.csv.
while IFS=, read -r queries tokens kv_heads _ merged uncut in_64 in_128 in_192 in_256; do
    read -r items states <<<"$("$TREEATTN_BIN" plan --tree "1,$queries / $((tokens - 32)),32" --strategy cost --heads "16/$kv_heads" \
        --workers $((1056 / kv_heads)) --format csv | awk -F, 'END { print $3, $5 }')"
    pieces=$((states / queries)) us=$merged
    if [ "$items" -eq "$states" ]; then # no item has two queries
        case $pieces,$(((tokens + pieces * 64 - 1) / (pieces * 64))) in
        1,*) us=$uncut ;; *,1) us=$in_64 ;; *,2) us=$in_128 ;; *,3) us=$in_192 ;; *,4) us=$in_256 ;; *) us=nan ;;
        esac
    fi
    echo "$us $merged $uncut $in_64 $in_128 $in_192 $in_256"
done < <(grep '^[0-9]' "$TREEATTN_SOURCE_DIR/docs/pieces_h200.csv") | awk '{
    best = $2
    for (i = 3; i <= NF; i++) if ($i < best) best = $i
    if ($1 / best > worst) worst = $1 / best
    if ($2 / $1 > gain) { gain = $2 / $1; now = $1; before = $2 } }
    END { printf "On %d trees this plan takes at most %.1f %% longer than the fastest of six, and up to %.0f %% less than without the rule: %.1f us instead of %.1f",
        NR, 100 * (worst - 1), 100 * (1 - 1 / gain), now, before }' >"$work/alone"
expect "docs/plans.md: what pieces gain" 1 "$(tr '\n' ' ' <"$TREEATTN_SOURCE_DIR/docs/plans.md" | sed 's/  */ /g' | grep -cF "$(cat "$work/alone")")"
finish
