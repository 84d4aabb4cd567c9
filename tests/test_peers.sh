#!/bin/bash
# Claim: scripts/peers.py measures whatever peers are importable, leaves out a peer whose result is wrong or that breaks, and
# says so in the csv; it gives each peer the tree in that peer's own layout; without peers it says what it lacks. The peers
# and the GPU are those of tests/fake_peers: they compute attention with NumPy from what they are given.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
export PYTHONDONTWRITEBYTECODE=1
peers=$TREEATTN_SOURCE_DIR/scripts/peers.py
for python in python3 /usr/bin/python3 ''; do
    [ -z "$python" ] || ! "$python" -c 'import numpy' 2>/dev/null || break
done
any=${python:-$(command -v python3)}
[ -n "$any" ] || { skip test_peers "no python3"; exit 77; }
says() { # NAME STATUS PATTERN COMMAND...: all that it says is one text
    local name=$1 wanted=$2 pattern=$3
    shift 3
    "$@" >"$work/said" 2>&1
    expect "$name: status" "$wanted" $?
    expect_match "$name: says it" "$pattern" "$work/said"
}

# Without any of them. -S: without the packages of this machine; -c: a module of the machine is not looked for.
lone() { env -u PYTHONPATH "$any" -S "$peers" "$@"; }
says "no peer" 1 '^peers.py: nothing measured: every peer needs torch$' lone
for line in 'torch: No module named .torch. \(pip install torch\)' 'flashinfer: .* \(pip install flashinfer-python\)' \
    'fasttree: .* \(clone .*FastTree-Artifact, then --fasttree FOLDER/kernel_bench\)'; do
    expect_match "no peer: lacking ${line%%:*}" "^lacking: $line$" "$work/said"
done
says "--check" 0 '^lacking: torch: ' lone --check
says "heads that do not divide" 2 "got '5/3'$" lone --heads 5/3
says "a tree that is none" 2 "expected names of figures/gpu_trees.cu, as in 'prefix 64'; got 'x'$" lone --trees 'wide, 1024,x'
for tree in 1,2 '1,2 / 3' '2,4 / 3,3' '1,2 / 3,0' '1,x / 3,4'; do
    says "tree $tree" 2 "expected 'NODES / TOKENS' of each level, from one root" lone --tree "$tree"
done

if [ -z "$python" ]; then
    skip "peers measured" "no numpy"
    finish
    exit
fi
mkdir "$work/some" && cp "$TREEATTN_SOURCE_DIR"/tests/fake_peers/{torch,flashinfer}.py "$work/some"
faked() { PYTHONPATH=$TREEATTN_SOURCE_DIR/tests/fake_peers "$python" "$peers" "$@"; }
names() { grep '^"' "$1" | sed 's/^"[^"]*",//' | cut -d , -f 1-4 | tr '\n' ' '; }

# Three levels, whose leaves divide unevenly; pages of 8; heads in groups, and one each.
says "all peers" 0 '^there: flashinfer 0.0.1$' faked --tree '1,3,7 / 16,8,24' --heads 4/2,2/2 --out "$work/all.csv"
expect "all peers: each at each of the heads" \
    "$(for h in 4,2 2,2; do for p in SDPA 'FlashInfer paged' 'FlashInfer cascade' FastTree; do printf '%s ' "$h,$p,3.5"; done; done)" \
    "$(names "$work/all.csv")"
expect "all peers: nothing left out, nothing printed by a peer" 0 "$(cat "$work/said" "$work/all.csv" | grep -cE 'left out|not for the reader')"
expect "all peers: right results" "" "$(awk -F, '/^"/ && $NF > 1e-5' "$work/all.csv")"
expect_match "versions" '^# peers: SDPA \(torch 9.9\), FlashInfer paged \(flashinfer 0.0.1\), .*, FastTree \(fasttree ' "$work/all.csv"
expect_match "device" '^# device: NVIDIA H200; CUDA 13.0$' "$work/all.csv"
expect "the heading" tree,heads,kv_heads,peer,us,max_error "$(grep -vE '^[#"]' "$work/all.csv")"

FAKE_FASTTREE=wrong says "a wrong result" 0 'left out: .*, 4/2 heads, FastTree: wrong result, error ' \
    faked --tree '1,3 / 16,8' --heads 4/2 --out "$work/wrong.csv"
expect "a wrong result: the others stay" "4,2,SDPA,3.5 4,2,FlashInfer paged,3.5 4,2,FlashInfer cascade,3.5 " "$(names "$work/wrong.csv")"
expect_match "a wrong result: the csv says so" '^# left out: 1,3 / 16,8, 4/2 heads, FastTree: wrong result' "$work/wrong.csv"
FAKE_FASTTREE=breaks says "a peer that breaks" 0 'FastTree: RuntimeError: no kernel image$' \
    faked --tree '1,3 / 16,8' --heads 4/2 --out "$work/breaks.csv"
expect "a peer that breaks: the others stay" 3 "$(grep -c '^"' "$work/breaks.csv")"

some() { PYTHONPATH=$work/some "$python" "$peers" "$@"; }
says "one is lacking" 0 '^lacking: fasttree: ' some --tree '1,3 / 10,5' --heads 2/1 --out "$work/some.csv"
expect "one is lacking: pages of 1, three peers" 3 "$(grep -c '^"' "$work/some.csv")"
expect_match "one is lacking: the csv says so" '^# lacking: fasttree$' "$work/some.csv"
says "the artifact's folder" 0 '^there: fasttree ' some --check --fasttree "$TREEATTN_SOURCE_DIR/tests/fake_peers"

echo recorded >"$work/old.csv"
sed -i 's/is_available=lambda: True/is_available=lambda: False/' "$work/some/torch.py"
says "no GPU" 1 '^peers.py: nothing measured: torch finds no GPU$' some --out "$work/old.csv"
expect "no GPU: the file stays" recorded "$(cat "$work/old.csv")"
says "no such folder" 1 '^peers.py: .*/none/x.csv: No such file or directory$' faked --tree '1,2 / 2,2' --heads 1/1 --out "$work/none/x.csv"

# Beside the recorded times: a tree of the figure.
says "a recorded tree" 0 '^16/1 heads, of 1 recorded: treeattn reaches 0\.[0-9]+ of the floor, the best of these peers [0-9.]+; treeattn is faster on 0$' \
    faked --trees 'prefix 1' --heads 16/1 --out "$work/one.csv"
expect "a recorded tree: its name" 4 "$(grep -c '^"prefix 1",16,1,' "$work/one.csv")"
finish
