#!/bin/bash
# Claim: a small input that stands for much memory or work is refused before it starts, with the need, the limit and the
# option that raises it; of all strategies only those that do not fit are left out, with a message.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
small=$TREEATTN_SOURCE_DIR/tests/tool_small.ttr

# A refusal comes before the memory is allocated: the programs run in 300 MB of address space, where that is possible
# (AddressSanitizer reserves more).
if (ulimit -v 300000 && "$TREEATTN_BIN" --version) >/dev/null 2>&1; then
    ulimit -v 300000
else
    echo "address space is not limited: this build needs more than 300 MB to start"
fi

# Two nodes, the second of N tokens.
long_node() {
    printf 'ttr 1 reason x\ntree 0 0 2 %d\nnode 0 -1 1 0 0\n' "$1"
    printf 'node 1 0 %d 1 %d\nend %d 1 %d\n' "$1" "$1" $(($1 + 1)) $(($1 + 1))
}
long_node 100000000 >"$work/long.ttr"
long_node 1000000000 >"$work/longer.ttr"
expect_error "10^8 tokens in 112 bytes" 2 \
    'long.ttr: a workload of 200000005 operations needs 2289 MiB of memory, more than --max-memory 512' \
    replay "$work/long.ttr"
expect_error "10^9 tokens in 117 bytes" 2 'needs 22889 MiB of memory, more than --max-memory 512' \
    replay "$work/longer.ttr"
expect_error "the same for plan" 2 'more than --max-memory 512' plan --trace "$work/long.ttr"
expect_error "and for bench" 2 'more than --max-memory 512' bench --repeats 3 --trace "$work/long.ttr"
run replay "$work/long.ttr" --max-iterations 1000 --format csv
expect "its first steps fit" "0 1000" "$status $(column iterations)"
run plan --trace "$work/long.ttr" --iteration 1000 --format csv
expect "so does a plan of an early step" "0 9 1" \
    "$status $(grep -c ',packed,\|,materialised,' <(grep -v tree_mask "$work/out")) $(grep -c ^tree_mask "$work/out")"
expect_error "a limit can be lowered" 2 'on a pool of 100000 blocks needs 3 MiB of memory, more than --max-memory 1$' \
    replay "$small" --blocks 100000 --max-memory 1
run replay "$small" --blocks 100000 --max-memory 4
expect "and raised" 0 "$status"

# Forks of a growing path cost the square of its length: 100,000 steps of one token each.
{
    printf 'ttr 1 accept x\nrec r 10 1 100000 100000\n'
    for ((i = 0; i < 2000; i++)); do
        echo acc 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
    done
    echo end 100000
} >"$work/ones.ttr"
expect_error "10^5 accepted tokens, one token per block" 2 \
    'write and drop 10002 million block table entries takes 10003 million steps, more than --max-work 1000' \
    replay "$work/ones.ttr" --star 1 --block-tokens 1 --max-work 1000
expect_error "attention is work too" 2 \
    'attention over 5001050000 tokens of the queries. paths, with 8 heads of 64, takes 2560538 million steps' \
    replay "$work/ones.ttr" --star 1 --attention node
expect_error "a million leaves in each step" 2 'more than --max-memory 512' replay "$work/ones.ttr" --star 1000000

expect_error "a huge pool" 2 'pool of 4294967294 blocks needs 114689 MiB of memory, more than --max-memory 512' \
    replay "$small" --blocks 4294967294
expect_error "a huge prompt" 2 'pool of 67108817 blocks needs .* more than --max-memory 512' \
    replay "$small" --prompt 1073741000
expect_error "huge heads" 2 'attention over .* needs .* more than --max-memory 512' \
    replay "$small" --attention node --heads 9999999/1 --head-dim 1024 --max-work 100000000
# bench counts before it starts. Its caches differ from machine to machine, its refusals do not.
expect_error "bench: no memory" 2 '^treeattn: bench, .* needs [0-9]+ MiB of memory, more than --max-memory 1$' \
    bench --repeats 3 --threads 1 --max-memory 1 --max-work 1 --format csv
expect_error "bench: no work" 2 '^treeattn: bench, .* takes [0-9]+ million steps, more than --max-work 1$' \
    bench --repeats 3 --threads 1 --max-work 1 --format csv
expect_error "bench: huge heads" 2 \
    '^treeattn: bench, 1,64 / 2048,64, needs [0-9]+ MiB of memory, more than --max-memory [0-9]+$' \
    bench --repeats 3 --threads 1 --heads 9999/9999 --head-dim 1024
expect_error "bench: attention is work" 2 '^treeattn: bench, 1,64 .* takes 164 million steps, more than --max-work 100$' \
    bench --repeats 3 --threads 1 --heads 64/8 --max-work 100
expect_error "bench: the host work alone is within it" 2 'bench, 1,64 .*, with 3 repeats, takes' \
    bench --repeats 3 --threads 1 --max-work 7
# A set holds the whole pool: if a step sees 2 tokens of a block of 256, the sets need 128 times the memory of its tokens.
expect_error "bench: a step that uses little of its pool" 2 '^treeattn: bench, trace step, needs [0-9]+ MiB of memory' \
    bench --repeats 3 --threads 1 --trace "$work/long.ttr" --iteration 1 --block-tokens 256
expect_error "bench: a long path" 2 'K and V of 62501 blocks, twice, needs 7[0-9]{3} MiB of memory' \
    bench --repeats 3 --threads 1 --trace "$work/long.ttr" --iteration 1000000
expect_error "long levels" 2 '--tree: a workload of .* more than --max-memory 512' \
    plan --tree "1,1000000,1000000,1000000,1000000,1000000,1000000,1000000,1000000 / 1,1,1,1,1,1,1,1,1"
expect_error "a long path to many leaves" 2 'more than --max-(memory|work)' plan --tree '1,1000000 / 1000000,1'

# step and attend: tree, walk, results, table; each is counted before it is made.
expect_error "step: a large tree" 2 'a tree of 100000 blocks and 100000 queries, .* needs 87 MiB of memory, more than --max-memory 60$' \
    step --tree '1,100000 / 1,1' --max-memory 60
expect_error "step: wide heads" 2 'a tree of 11 blocks and 2 queries, with K and V, needs 2 MiB .* more than --max-memory 1$' \
    step --tree '1,2 / 50,60' --head-dim 1024 --max-memory 1
expect_error "step: a long walk" 2 'a walk of 50003 steps needs 9 MiB of memory, more than --max-memory 8$' \
    step --tree '1,1 / 50000,1' --max-memory 8
expect_error "step: its table" 2 'a table of 2063 steps needs 5 MiB of memory, more than --max-memory 1$' \
    step --tree '1,2 / 2000,60' --max-memory 1 --format csv
expect_error "step: a tree that takes long to build" 2 'more than --max-work 1$' \
    step --tree '1,10 / 200000,1' --block-tokens 1 --max-work 1
expect_error "attend: wide results" 2 'attention of 20 queries, 20 partial states needs [0-9]+ MiB .* more than --max-memory 2$' \
    attend --tree '1,20 / 5,60' --max-memory 2 --heads 4096/4
expect_error "attend: work" 2 "attention over 112000 tokens of the queries' paths, .* takes 2 million steps, more than --max-work 1$" \
    attend --tree '1,200 / 500,60' --max-work 1
expect_error "attend: its table" 2 'a table of 20000 rows needs [0-9]+ MiB of memory, more than --max-memory 26$' \
    attend --tree '20000 / 1' --max-memory 26 --format json
expect_error "attend: a group that no plan takes" 2 '--heads: expected at most 65536 query heads for each KV head' \
    attend --tree 1/1 --heads 9999999/1

expect_error "--every without a computed iteration" 2 "--every: works only with --attention" replay "$small" --every 3
expect_error "--every 0" 2 "--every: expected" replay "$small" --attention node --every 0
expect_error "a table of many items" 2 'a table of 100000 items needs 7[0-9] MiB of memory, more than --max-memory 60' \
    plan --tree '100000 / 1' --strategy flash --items --max-memory 60
expect_error "a tree, before it is built" 2 'the tree of 100000 queries .* needs 2[0-9] MiB .* more than --max-memory 20' \
    plan --tree '100000 / 1' --strategy flash --max-memory 20
expect_error "a group that no plan takes" 2 '--heads: expected at most 65536 query heads for each KV head' \
    plan --tree 1/1 --heads 9999999/1
run replay "$small" --attention node --every 1000000 --format csv
expect "nothing computed: status" 0 "$status"
expect "nothing computed: nothing is within a limit" "" "$(column within_limit)"
expect_match "nothing computed: says so" 'attention was computed at no iteration' "$work/err"

# tree_mask takes a bit for each query and token.
run plan --tree '5050 / 2113' --format csv
expect "plan: status" 0 "$status"
expect_match "what does not fit is named" \
    '^treeattn: tree_mask is left out: its plan needs 6470 MiB of memory, more than --max-memory 512$' "$work/err"
expect "nothing else is said" 1 "$(wc -l <"$work/err")"
expect "its row is empty" "tree_mask,packed,,,,,,,,,," "$(grep ^tree_mask, "$work/out")"
expect "the other seven are there" 7 "$(grep -c ',packed,[0-9]' "$work/out")"
expect_error "alone it is refused" 2 'plan tree_mask needs 6470 MiB of memory, more than --max-memory 512' \
    plan --tree '5050 / 2113' --strategy tree_mask
run plan --tree '500 / 211' --format csv --max-memory 20
expect "a tree that fits: all eight" "8 0" "$(grep -c ',packed,[0-9]' "$work/out") $(wc -l <"$work/err")"
run plan --tree '500 / 211' --format json --max-memory 6
expect "a lower limit: seven" "7 1" "$(grep -o '"items": [0-9]' "$work/out" | wc -l) $(wc -l <"$work/err")"
for verb in replay plan step attend bench; do
    run $verb --help
    [ $verb = bench ] && absent='512, and 16 times the largest cache' || absent=512
    expect_match "$verb --help: memory" "--max-memory MIB .*\\($absent\\)" "$work/out"
    expect_match "$verb --help: work" '--max-work MILLIONS .*\(20000\)' "$work/out"
done
finish
