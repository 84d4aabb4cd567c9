#!/bin/bash
# Claim: bench --gpu measures the tree, heads, storage, plan and rung that it is told, prints them with times, floor, score,
# bytes and ceilings in each format, and refuses in one line: mistakes with status 2, before it looks for a GPU, and a GPU
# that is not there with status 1. The measurement itself is a stub, tests/fake_gpu_bench.c, since no GPU is needed here.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
program=$TREEATTN_BIN
fake=${TREEATTN_BIN%/*}/fake_gpu_bench
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr
golden=$TREEATTN_SOURCE_DIR/tests/golden/bench_gpu.txt
TREEATTN_BIN=$fake

# The whole output, but for the commit.
for format in text csv json; do
    echo "\$ treeattn bench --gpu '1,64 / 2048,64' --format $format"
    run bench --gpu '1,64 / 2048,64' --format $format
    sed 's/^\(\(# \)\?commit: \).*/\1COMMIT/' "$work/out"
    expect "$format: status, nothing on stderr" "0 0" "$status $(wc -l <"$work/err")" >&2
done >"$work/shown" 2>"$work/said"
cat "$work/said"
grep -q '^FAIL' "$work/said" && failed=$((failed + 1))
expect "the output" "" "$(diff "$golden" "$work/shown" 2>&1)"

# values ARGUMENTS...: of a csv, the columns that the arguments decide.
values() {
    run bench --format csv "$@"
    awk -F, '/^#/ { next } !columns { columns = split($0, name, ","); next } {
        sub(/^"[^"]*"/, "tree") # it may have commas
        for (i = 1; i <= columns; i++) value[name[i]] = $i
        print value["queries"], value["heads"] "/" value["kv_heads"], value["head_dim"], value["storage"], value["plan"], value["step"], value["plan_bytes"], value["unique_bytes"]
    }' "$work/out"
}
expect "heads, head_dim, storage, plan, rung" "64 16/1 64 bf16 flash step_5_fake 34603008 1572864" \
    "$(values --gpu '1,64 / 2048,64' --heads 16/1 --head-dim 64 --storage bf16 --strategy flash --rung 5)"
expect "leaves of two lengths, blanks" "2 32/8 128 fp16 cost step_12_fake 8200192 8200192" "$(values --gpu ' 1,2/1000,1|1001')"
expect "a step of a trace" "2 32/8 128 fp16 node step_12_fake" \
    "$(values --gpu step --trace "$small" --prompt 3000 --iteration 4 --strategy node | cut -d ' ' -f 1-6)"
expect "another step" "3 32/8 128 fp16 node step_12_fake" \
    "$(values --gpu step --trace "$small" --prompt 3000 --iteration 1 --strategy node | cut -d ' ' -f 1-6)"
expect_match "its name" "^\"?$small, step 1\"?," "$work/out"
run bench --gpu '1,2 / 6,3|4' --format csv
expect "a small tree is not cold: no cold time, floor, score" "0 1,,12.35,," \
    "$status $(sed -n '$s/.*,step_\(1\)2_fake\(,[^,]*\)\(,[^,]*\)\(,[^,]*\)\(,[^,]*\),.*,1000,.*/\1\2\3\4\5/p' "$work/out" | cut -d , -f 1-5)"
expect_match "and one line" '^treeattn: bench --gpu: not measured cold: ' "$work/err"

# Refusals: the same with and without a GPU.
for TREEATTN_BIN in "$fake" "$program"; do
    of=${TREEATTN_BIN##*/}
    expect_error "$of: no tree" 2 "^treeattn: --gpu: expected 'NODES / TOKENS', as in '1,16,64 / 1024,256,32'; got '1,64'; see 'treeattn bench --help'$" \
        bench --gpu 1,64
    expect_error "$of: a bad tree" 2 '^treeattn: --gpu, tokens, column 9: ' bench --gpu '1,64 / 2x'
    expect_error "$of: a tree and a trace" 2 '^treeattn: --trace: works only with --gpu step' bench --gpu '1,2 / 3,4' --trace "$small"
    expect_error "$of: a tree and a step" 2 '^treeattn: --iteration: works only with --gpu step' bench --gpu '1,2 / 3,4' --iteration 1
    expect_error "$of: a tree and an option of traces" 2 '^treeattn: --star: works only with --trace, not with --gpu' bench --gpu '1,2 / 3,4' --star 2
    expect_error "$of: a step of no trace" 2 '^treeattn: --gpu step: expected --trace FILE' bench --gpu step
    expect_error "$of: a step that is none" 2 'iteration 99: expected 1 to ' bench --gpu step --trace "$small" --iteration 99
    expect_error "$of: fp32" 2 "^treeattn: --storage: expected fp16 or bf16 with --gpu, got 'fp32'" bench --gpu '1,2 / 3,4' --storage fp32
    expect_error "$of: a head_dim that no kernel has" 2 "^treeattn: --head-dim: expected 64, 128 or 256 with --gpu, got '80'" \
        bench --gpu '1,2 / 3,4' --head-dim 80
    expect_error "$of: threads" 2 '^treeattn: --threads: works only without --gpu' bench --gpu '1,2 / 3,4' --threads 2
    expect_error "$of: blocks" 2 '^treeattn: --block-tokens: works only without --gpu, whose blocks have 8 tokens' \
        bench --gpu '1,2 / 3,4' --block-tokens 8
    expect_error "$of: a rung of the CPU" 2 '^treeattn: --rung: works only with --gpu' bench --rung 3
    expect_error "$of: a plan of the CPU" 2 '^treeattn: --strategy: works only with --gpu' bench --strategy cost
    expect_error "$of: a rung below 0" 2 "^treeattn: --rung: expected a whole number from 0 to 99, got '-1'" bench --gpu '1,2 / 3,4' --rung -1
    expect_error "$of: memory" 2 'more than --max-memory 1$' bench --gpu '1,512 / 2048,64' --max-memory 1
    expect_error "$of: work" 2 '^treeattn: bench, 1,512 / 20480,64, takes [0-9]+ million steps, more than --max-work 9$' \
        bench --gpu '1,512 / 20480,64' --max-work 9
done
TREEATTN_BIN=$fake
expect_error "a rung that the ladder lacks" 2 '^treeattn: bench --gpu: expected a rung, 0 to 12; got 13$' bench --gpu '1,2 / 3,4' --rung 13
FAKE_GPU=none expect_error "no GPU" 1 '^treeattn: bench --gpu: no CUDA device ' bench --gpu '1,2 / 3,4'
TREEATTN_BIN=$program
if [ ! -e /dev/nvidiactl ] && [ ! -e /dev/dxg ]; then
    expect_error "the program here" 1 '^treeattn: bench --gpu: [^ ].*' bench --gpu '1,64 / 2048,64'
fi

# The measurement is a library beside the program, or where it is installed.
libdir=$(sed -n 's/^CMAKE_INSTALL_LIBDIR:PATH=//p' "${program%/*}/CMakeCache.txt")
for place in bin "$libdir/treeattn"; do
    rm -rf "$work/there" && mkdir -p "$work/there"/{bin,"$place"}
    cp "$program" "$work/there/bin/treeattn"
    TREEATTN_BIN=$work/there/bin/treeattn
    expect_error "$place: no library" 1 '^treeattn: bench --gpu: (its library is not built yet; make builds it|this program was built without CUDA; put nvcc on PATH and build again)$' \
        bench --gpu '1,64 / 2048,64'
    cp "${program%/*}/libfake_bench.so" "$work/there/$place/libtreeattn_bench.so"
    run bench --gpu '1,64 / 2048,64' --format csv
    expect_match "$place: found" '^"1,64 / 2048,64",64,32,8,128,fp16,cost,step_12_fake,' "$work/out"
    echo "no library" >"$work/there/$place/libtreeattn_bench.so"
    expect_error "$place: damaged" 1 '^treeattn: bench --gpu: .*libtreeattn_bench.so: .+$' bench --gpu '1,64 / 2048,64'
done
finish
