#!/bin/bash
# Claim: scripts/deft_to_ttr.py writes the trees, draft trees and accepted lengths of DeFT's JSON layout as ttr, refuses
# other input with a sentence and status 2, and reproduces every tree of the recorded traces.
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}"
: "${TREEATTN_BIN:=$TREEATTN_SOURCE_DIR/build/treeattn}"
command -v python3 >/dev/null || { echo "skip test_deft_to_ttr no python3"; exit 77; }
convert="$TREEATTN_SOURCE_DIR/scripts/deft_to_ttr.py"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0

verdict() { # STATUS NAME
    if [ "$1" = 0 ]; then echo "pass $2"; else echo "FAIL $2"; failed=$((failed + 1)); fi
}

converts() { # NAME KIND FILE: the output is $work/expected
    local status=1
    python3 "$convert" "$2" demo "$3" >got 2>error && diff expected got && status=0
    [ $status = 0 ] || cat error
    verdict $status "$1"
}

refuses() { # NAME KIND SENTENCE: the input is $work/in.json
    local status=1
    python3 "$convert" "$2" demo in.json >got 2>error
    [ $? = 2 ] && [ ! -s got ] && grep -qF "$3" error && status=0
    [ $status = 0 ] || cat error
    verdict $status "$1"
}

cat >trees.json <<'JSON'
[{"incompleted": false, "prompt": "text \"with\" {braces}", "data": {
   "0": {"id": 0, "value": 3, "start": -2, "end": 0, "children": [1, 2]},
   "1": {"id": 1, "value": 2, "start": 1, "end": 2, "children": [3]},
   "3": {"id": 3, "value": 1, "start": 3, "end": 3, "children": []},
   "2": {"id": 2, "value": 5, "start": 1, "end": 5, "children": []}}},
 {"incompleted": true, "prompt": "", "data": {"0": {"id": 0, "value": 1, "start": 0, "end": 0, "children": []}}},
 {"incompleted": false, "prompt": "", "data": {}},
 {"incompleted": false, "prompt": "", "data": {
   "0": {"id": 0, "value": 2, "start": -1, "end": 0, "children": [9, 4]},
   "4": {"id": 4, "value": 0, "start": 1, "end": 0, "children": [2]},
   "9": {"id": 9, "value": 4, "start": 1, "end": 4, "children": []},
   "2": {"id": 2, "value": 1, "start": 1, "end": 1, "children": []}}}]
JSON
cat >expected <<'TTR'
ttr 1 reason demo
tree 0 0 4 5
node 0 -1 3 -2 0
node 1 0 2 1 2
node 2 0 5 1 5
node 3 1 1 3 3
end 11 2 14
tree 1 -1 1 0
node 0 -1 1 0 0
end 1 1 1
tree 3 1 4 4
node 0 -1 2 -1 0
node 1 0 0 1 0
node 2 0 4 1 4
node 3 1 1 1 1
end 7 2 9
TTR
converts reason reason trees.json
if [ -x "$TREEATTN_BIN" ] && "$TREEATTN_BIN" --help | grep -qw replay; then
    "$TREEATTN_BIN" replay got --tree 1 --format csv >replayed 2>error
    verdict $? "reason_replays"
else
    echo "skip reason_replays no program treeattn"
fi

cat >draft.json <<'JSON'
{"Tree_ID": 0, "Tree_Structure": [[0], [1], [0, 0], [0, 2], [0, 0, 1]], "Token_Tree_size": 5,
 "Records": [{"prompt": "three words here", "Accept_length": [1, 2, 0]},
             {"prompt": "three words here", "Accept_length": [1, 2, 0]},
             {"prompt": "", "prompt_len": 9, "Accept_length": [3]}]}
JSON
printf '%s\n' 'ttr 1 draft demo' 'draft 0 5 6 3' 'dnode 0 -1 0' 'dnode 1 0 0' 'dnode 2 0 1' 'dnode 3 1 0' \
    'dnode 4 1 2' 'dnode 5 3 1' 'end 3 15' >expected
converts draft draft draft.json
printf '%s\n' 'ttr 1 accept demo' 'rec r0 4 0 3 3' 'acc 1 2 0' 'end 3' 'rec r1 9 1 1 1' 'acc 3' 'end 3' >expected
converts accept accept draft.json
python3 -c 'import json; print(json.dumps({"Records": [{"prompt_len": 1, "Accept_length": [5] * 101}]}))' >in.json
{ echo 'ttr 1 accept demo'; echo 'rec r0 1 1 101 101'; for n in 50 50 1; do
      printf 'acc'; for ((i = 0; i < n; i++)); do printf ' 5'; done; echo; done; echo 'end 505'; } >expected
converts accept_in_lines_of_50 accept in.json

node='{"id": 0, "value": 1, "start": 0, "end": 0, "children"'
echo '{' >in.json;                                                   refuses no_json reason 'deft_to_ttr.py:'
echo '{}' >in.json;                                                  refuses no_list reason 'expected a list of trees'
echo '[{}]' >in.json;                                                refuses no_data reason "expected a field 'data'"
echo '[]' >in.json;                                                  refuses nothing reason 'nothing to convert'
echo '[{"data": {"1": {"id": 1, "value": 1, "start": 0, "end": 0, "children": []}}}]' >in.json
refuses no_root reason 'expected a node 0'
echo "[{\"data\": {\"0\": $node: [7]}}}]" >in.json;                  refuses absent_child reason 'which is absent'
echo "[{\"data\": {\"0\": $node: [0]}}}]" >in.json;                  refuses cycle reason 'two parents'
echo "[{\"data\": {\"1\": $node: []}}}]" >in.json;                   refuses wrong_key reason 'its id is 0'
echo '[{"data": {"0": {"id": 0, "value": 2, "start": 0, "end": 0, "children": []}}}]' >in.json
refuses wrong_span reason 'value 2, but start 0 and end 0'
echo '[{"data": {"0": {"id": 0, "value": 1.5, "start": 0, "end": 0, "children": []}}}]' >in.json
refuses fraction reason 'whole number'
echo "[{\"data\": {\"0\": $node: [1]},
    \"1\": {\"id\": 1, \"value\": 1, \"start\": 2, \"end\": 2, \"children\": []}}}]" >in.json
refuses late_start reason 'its parent ends at 0'
echo "[{\"data\": {\"0\": $node: []},
    \"1\": {\"id\": 1, \"value\": 1, \"start\": 1, \"end\": 1, \"children\": []}}}]" >in.json
refuses orphan reason '1 nodes are not under the root'
echo '{"Tree_Structure": [[0, 0]], "Token_Tree_size": 2}' >in.json;  refuses draft_gap draft 'no new step from the tree'
echo '{"Records": [{"Accept_length": [-1]}]}' >in.json; refuses negative_length accept 'whole number from 0'
python3 "$convert" reason demo no-such-file.json >got 2>error
[ $? = 2 ] && [ -s error ]
verdict $? absent_file

# The recorded traces, written in the JSON layout with shuffled keys, come back line by line.
traces="$TREEATTN_SOURCE_DIR/../shared/traces"
for file in "$traces"/reason_*.ttr; do
    [ -r "$file" ] || { echo "skip back_from_traces no recorded traces in ../shared/traces"; break; }
    python3 - "$file" >back.json <<'PYTHON'
import json, random, sys
random.seed(1)
trees = []
for line in open(sys.argv[1]):
    word, *numbers = line.split()
    if word == "tree":
        trees.append({"incompleted": numbers[1] == "-1", "prompt": "x", "data": {}})
    elif word == "node":
        node, parent, tokens, start, end = map(int, numbers)
        data = trees[-1]["data"]
        data[str(node)] = {"id": node, "value": tokens, "start": start, "end": end, "children": []}
        if parent >= 0:
            data[str(parent)]["children"].append(node)
for tree in trees:
    keys = list(tree["data"])
    random.shuffle(keys)
    tree["data"] = {key: tree["data"][key] for key in keys}
json.dump(trees, sys.stdout)
PYTHON
    python3 "$convert" reason demo back.json >got 2>error || cat error
    shape() { sed -e 1d -e 's/^tree [0-9]* [-0-9]*/tree/' "$1"; } # SRC and ORDINAL count trees that were left out
    shape "$file" >expected
    shape got | diff expected - >difference
    verdict $? "back_$(basename "$file" .ttr)"
done
[ $failed = 0 ]
