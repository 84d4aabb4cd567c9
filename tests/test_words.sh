#!/bin/bash
# Claim: code, messages, captions and pages keep to the project's words (docs/glossary.md), which are all defined there
# once: the phrases below are refused, each with the better form. `tests/test_words.sh FILE...` checks these files alone.
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
failed=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}

# A Perl regex => the better form => an example that the regex has to match.
rules='
\b[Aa] pass a\b => "per-branch reading" => a pass a branch
\bone pass for all\b(?! branches) => "one pass for all branches" => with one pass for all.
\bpass for each branch\b => "per-branch reading" => a pass for each branch
\b([Cc]om(e|es|ing)|[Cc]ame) to\b => "reaches", "is", "arrives at" => comes to 0.48 of the floor
\b[Aa]sk(s|ed|ing)? for\b => "requests", "loads", "needs" => lines that were asked for
\bPlainly\b => say it without an announcement => Plainly: the aim was
\b([Ww]ho|[Ww]hoever|[Nn]obody|[Ss]omebody|[Aa]nybody)\b => "the warp that", "the caller", "no query": name it => who waits
\b[Dd]earest\b|\b[Dd]earer\b => "the most expensive", "more expensive" => the dearest first
\bturned\b|_turned\b => "negated", "swizzled", "permuted" or "reordered" => queries are turned over
\b[Gg](ives?|iven|ave|iving) up\b => "dropped", "released" => tried and given up
\b[Tt]hr(ows?|own|ew|owing) away\b => "dropped" => the result is thrown away
\b[Ww]hat (lies|lay|stands)\b => name it: "the data", "the tokens" => what lies there
\b[Ww]hat (is|was|are|were) (loaded|read|written|stored|asked|measured|computed|copied|shared)\b => a noun: "the loaded bytes" => what is loaded
\b[Rr]iddle\b => "paradox" => no riddle
\b(bytes?|tokens?|blocks?|elements?|states?|words?|[KMG]i?B|lines?|floats?|ns|us|ms|GB/s) a (step|second|token|query|block|row|worker|warp|tile|task|item|node|byte|word|pool|call|masked token)\b => "per" => 17 ns a token
\b(bytes?|tokens?|blocks?|elements?|states?|words?|[KMG]i?B|lines?|floats?|ns|us|ms|GB/s) an (item|entry|element)\b => "per" => 4 bytes an entry
\b([Oo]nce|[Tt]wice) a (step|token|query|block|tile|row)\b => "once per step" => once a step
'
# Genuine uses, of people above all: a regex for the file => a regex for the line.
allowed='
(docs/book/[0-9]+_[a-z0-9_]+\.md|tests/test_book\.sh) => What was measured
'

mapfile -t files < <(if [ $# -gt 0 ]; then
    printf '%s\n' "$@"
elif git rev-parse --is-inside-work-tree >/dev/null 2>&1 && [ -n "$(git ls-files | head -n 1)" ]; then
    git ls-files
else
    find . -path ./.git -prune -o -path './build*' -prune -o -type f -print | sed 's#^\./##'
fi | grep -E '^(\.ci|allocator|reference|gpu|model|measure|tools|figures|tests|docs|scripts|cmake|notebooks|python)/|\.md$|^(Makefile|CMakeLists.txt)$' |
    grep -vE '\.(csv|svg|png|ttr|ipynb)$|^tests/test_words\.sh$')

expression=
while IFS= read -r rule && [ -n "$rule" ]; do
    regex=${rule%% => *}
    grep -qP -- "$regex" <<<"${rule##* => }" || fail "the rule '$regex' does not match its example"
    expression+=${expression:+|}$regex
done <<<"${rules:1}"

hits=$(grep -nIHP -- "$expression" "${files[@]}")
while IFS= read -r allowance && [ -n "$allowance" ]; do
    rest=$(grep -vE -- "^(${allowance%% => *}):[0-9]+:.*(${allowance##* => })" <<<"$hits")
    [ $# -gt 0 ] || [ "$rest" != "$hits" ] || fail "the allowance '$allowance' is of no use any more"
    hits=$rest
done <<<"${allowed:1}"

while IFS= read -r rule && [ -n "$rule" ]; do
    better=${rule#* => }
    while IFS= read -r hit && [ -n "$hit" ]; do
        fail "$hit
     better: ${better%% => *}"
    done < <(grep -P -- "^[^:]*:\d+:.*(${rule%% => *})" <<<"$hits")
done <<<"${rules:1}"

# The project's words, each defined once.
words='token|prompt|prefill|decoding step|batch|layer|model weights|KV cache|attention|key|value|head_dim|
query head|KV head|GQA group|score|softmax|weight|row|partial state|online softmax|absorb|merge|lse|block|
pool|slot|branch|prefix|block table|fork|append|copy-on-write|reference count|truncate|prune|adopt|reserve|
epoch|version|node|query|U|S|draft token|thought|plan|strategy|item|range|mask|task|tile|slice|partial|
per-branch reading|one pass for all branches|DRAM|HBM|bandwidth|latency|cache|cache line|hit|miss|hit rate|
L2 cache|cold L2|warm L2|logical_bytes|unique_bytes|plan_bytes|dram_bytes|effective bandwidth|FLOP|
arithmetic intensity|roofline|memory-bound|compute-bound|floor|score of a kernel|evict|budget|victim|policy|
candidates|mass|norm|importance|deferred|eager|keep words|position|hole|dead block|scope|compaction|forest|
kernel|launch|multiprocessor|thread block|warp|lane|shuffle|register|shared memory|barrier|coalesced|
tensor core|warpgroup|fragment|bank conflict|swizzle|prefetch|persistent kernel|queue|outline|worker|
cooperative launch|programmatic dependent launch|cluster|occupancy|spill|
decoder|value word|margin|price|profile|reference|fast path|rung|trace|replay'
if [ $# = 0 ]; then
    defined=$(sed -n 's/^#### //p' docs/glossary.md | sort)
    differing=$(comm -3 <(tr -d '\n' <<<"$words" | tr '|' '\n' | sort) - <<<"$defined")
    empty=$(awk '/^####? / { if (term != "" && !defined) print term; term = $0; defined = 0; next } /^[^#]/ { defined = 1 }
        END { if (!defined) print term }' docs/glossary.md)
    [ -z "$empty" ] || fail "docs/glossary.md has no definition below: $empty"
    [ -z "$differing" ] || fail "in the list of words alone or, indented, in docs/glossary.md alone or twice: $differing"
fi

echo "${#files[@]} files, $failed failed"
[ $failed = 0 ] && [ ${#files[@]} -gt 0 ]
