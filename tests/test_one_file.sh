#!/bin/bash
# Claim: docs/one_file.c has at most 300 lines, compiles alone and without a warning, prints the output that it states,
# and its exit status depends on its check: each planted bug makes it fail.
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
source_file=$TREEATTN_SOURCE_DIR/docs/one_file.c
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}

lines=$(wc -l <"$source_file")
[ "$lines" -le 300 ] || fail "docs/one_file.c has $lines lines, at most 300 are allowed"
grep -n '#include "' "$source_file" && fail "docs/one_file.c includes a file of its own"

compiled=0
for compiler in gcc clang; do
    command -v $compiler >/dev/null || { echo "skip one_file_$compiler no $compiler"; continue; }
    if ! $compiler -std=c11 -Wall -Wextra -Wpedantic -Werror -o "$work/$compiler" "$source_file" -lm; then
        fail "$compiler does not compile it"
    elif ! timeout 20 "$work/$compiler" >"$work/trace"; then
        fail "compiled by $compiler, it ends with status $?"
    else
        compiled=$((compiled + 1))
    fi
done
[ $compiled -gt 0 ] || fail "no compiler"

# What a student has to find in the trace. U = 6 + 2 + 5 + 4 + 5 + 5 = 27 and S = 13 + 17 + 17 + 6 = 53 tokens, 2 x 2 KV
# heads x 8 doubles each. Spaces do not count.
sed -i 's/  */ /g; s/^ //; s/ $//' "$work/trace"
while read -r line; do
    grep -qxF -- "$line" "$work/trace" || fail "the trace lacks '$line'"
done <<'END'
A appends 10 blocks 0 1 2 references 1 1 1 0 0 0 0 0 0
B = fork of A blocks 0 1 2 references 2 2 2 0 0 0 0 0 0
copy 2 tokens of block 2 to block 3
B appends 5 blocks 0 1 3 4 references 3 3 2 1 1 0 0 0 0
A appends 3 blocks 0 1 2 6 references 3 3 1 1 1 1 1 0 0
copy 3 tokens of block 4 to block 7
X is pruned blocks references 3 3 1 2 1 0 1 1 1
B appends 2 blocks 0 1 3 4 5 references 4 4 1 2 1 1 1 1 1
node 0 tokens 0..5 blocks 0 1 queries A B C D
node 1 tokens 6..7 blocks 1 queries A B C
node 2 tokens 8..12 blocks 2 6 queries A
node 3 tokens 8..11 blocks 3 queries B C
item 0 tokens 0..3 blocks 0 queries A B C D
item 9 tokens 16..16 blocks 8 queries C
Bytes of K and V: logical 13568 (each branch loads its own path), plan 6912
END
grep -qE '^Check: largest difference to each branch alone [0-9.]+e-1[3-9]: ok$' "$work/trace" ||
    fail "the check: $(tail -n 1 "$work/trace")"
[ "$(grep -c '^item .* merged m' "$work/trace")" = 5 ] || fail "query A has not 5 partial states"

# Bugs: a name, and the sed command that plants it.
cc=$(command -v gcc || command -v clang)
while IFS='|' read -r name edit; do
    sed -E "$edit" "$source_file" >"$work/bug.c"
    cmp -s "$source_file" "$work/bug.c" && { fail "bug '$name' was not planted: '$edit' matches nothing"; continue; }
    "$cc" -std=c11 -o "$work/bug" "$work/bug.c" -lm || { fail "bug '$name' does not compile"; continue; }
    timeout 20 "$work/bug" >/dev/null 2>&1
    status=$?
    if [ $status = 1 ]; then echo "pass noticed: $name"; else fail "bug '$name': status $status instead of 1"; fi
done <<'END'
sums are not rescaled|s/ rescale = exp\(s->m - max\)/ rescale = 1/
the merged state is not rescaled|s/other_rescale = exp\(m - max\)/other_rescale = 1/
the copy is not carried out|s/c\.num_tokens \* sizeof key/0 * sizeof key/
one token too few is copied|s/take_block\(\), used\}/take_block(), used - 1}/
writes into a shared block|s/references\[\*last\] > 1/references[*last] > 9/
fork adds no reference|s/references\[child\.blocks\[i\]\]\+\+/(void)0/
an item loses its last token|s/rest < PIECE_TOKENS \? rest/rest < PIECE_TOKENS ? rest - 1/
a node starts a token late|s/\(node\)\{depth\+\+, first_token,/(node){depth++, first_token + 1,/
branches share by position alone|s/branches\[q\]\.blocks\[t \/ BLOCK_TOKENS\] == branches/branches[q].blocks[0] == 0 * branches/
every head reads KV head 0|s/= key\[(.*)\]\[kv_head\]\[t/= key[\1][0][t/
the output is not a number|s/all->o\[d\] \/ all->l/NAN/
END
[ $failed = 0 ] && echo "pass one_file: $lines lines, $compiled compilers"
[ $failed = 0 ]
