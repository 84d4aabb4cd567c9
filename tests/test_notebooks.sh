#!/bin/bash
# Claim: each notebook has the cells of its source, runs, and shows what is recorded in it; under plain python3 its source
# prints the same texts. What its texts say in words comes true, also after the changes that they propose. A notebook that
# is stale, wrong or depends on the machine is refused with a line of its own, and what a machine lacks is said in one line.
# Not sanitized: Python does not load a library with sanitizers.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$TREEATTN_SOURCE_DIR" || exit 1
build=$(cd "${TREEATTN_BUILD_DIR:-build}" && pwd)
while read -r python; do
    ! "$python" -c 'import ipykernel, nbclient, numpy' 2>/dev/null </dev/null || break
done < <(type -aP python3)
if [ -z "$python" ] || ! command -v gnuplot >/dev/null; then
    skip notebooks "no $([ -n "$python" ] && echo gnuplot || echo nbclient)"
    exit 77
fi
export TREEATTN_LIB=$build/python/libtreeattn.so

# ---- the notebooks ----

mapfile -t names < <(find notebooks -name '[0-9][0-9]_*.py' | sed 's#.*/##; s#[.]py$##' | sort)
expect "eight notebooks, numbered from 1" "$(seq -f %02g 8 | tr '\n' ' ')" "$(printf '%.2s ' "${names[@]}")"
"$python" scripts/notebooks.py --check >"$work/out" 2>&1
expect "all are as recorded" 0 $?
for name in "${names[@]}"; do expect_match "$name" "^pass $name: " "$work/out"; done
[ "$(grep -c '^pass' "$work/out")" = ${#names[@]} ] || cat "$work/out"
expect "no other words" "" "$(grep -v '^pass' "$work/out")"
for name in "${names[@]}"; do expect "README.md has $name" 1 "$(grep -c "]($name.ipynb)" notebooks/README.md)"; done

# recorded_text NOTEBOOK: what its cells print, and the texts of its pictures
recorded_text() {
    "$python" - "$1" <<'PYTHON'
import json, sys
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    for output in cell.get("outputs", []):
        print("".join(output["text"]) if "text" in output else "".join(output["data"]["text/plain"]) + "\n", end="")
PYTHON
}
# In a folder that is not the root, with pictures in a checkout of its own: nothing is written into this one.
mkdir -p "$work/tree/notebooks" "$work/tree/figures"
ln -s "$PWD/python" "$work/tree/python"
ln -s "$PWD"/figures/* "$work/tree/figures/"
cp notebooks/*.py "$work/tree/notebooks"
first=${names[0]}
cd "$work" || exit 1
"$python" "tree/notebooks/$first.py" >"$work/plain" 2>"$work/err"
expect "$first under plain python3" "0 " "$? $(cat "$work/err")"
recorded_text "$TREEATTN_SOURCE_DIR/notebooks/$first.ipynb" >"$work/recorded"
expect "$first prints the recorded texts" "" "$(diff "$work/recorded" "$work/plain" | head -n 5)"
expect "its pictures are files" "$(grep -c '^\[picture: ' "$work/plain")" \
    "$(find "$work/tree/build/notebooks" -name "${first}_*.png" | wc -l)"

# ---- what the texts say in words of their own ----

(cd "$TREEATTN_SOURCE_DIR" && "$python" tests/notebooks_promises.py) >"$work/out" 2>&1 </dev/null
expect "the promises of the texts: status" 0 $?
cat "$work/out"
cases=$((cases + $(grep -c '^pass' "$work/out")))

# ---- what a machine lacks ----

# says NAME PATTERN COMMAND...: it ends with a status other than 0 and this one line.
says() {
    local name=$1 pattern=$2
    shift 2
    "$@" >"$work/out" 2>&1 </dev/null
    expect "$name: status" 1 "$(($? != 0))"
    expect "$name: one line" 1 "$(wc -l <"$work/out")"
    expect_match "$name" "$pattern" "$work/out"
}
says "no NumPy" '^this notebook needs NumPy, which .*python3[0-9.]* lacks: sudo apt-get install .*python3-numpy, then /usr/bin/python3$' "$python" -S "tree/notebooks/$first.py"
says "no library" '^this notebook needs the library, which make notebooks builds: .*nowhere' env TREEATTN_LIB=nowhere "$python" "tree/notebooks/$first.py"
mkdir -p alone/python
ln -s "$TREEATTN_LIB" alone/python/
says "no program" '^this notebook needs the program, which make notebooks builds: .*alone/treeattn: No such file' \
    env TREEATTN_LIB="$work/alone/python/${TREEATTN_LIB##*/}" "$python" "tree/notebooks/08_tree_of_thoughts.py"
mkdir bin
for program in bash dirname cat env; do ln -s "$(command -v $program)" bin/; done
printf '#!/bin/bash\nexit 1\n' >bin/python3
chmod +x bin/python3
says "no nbclient" '^make notebooks needs nbclient.*: sudo apt-get install .*python3-nbclient python3-ipykernel python3-numpy$' \
    env PATH="$work/bin" bash "$TREEATTN_SOURCE_DIR/scripts/notebooks.sh" "$build"
says "no such verb" '^WRITE=yes: expected 1' env WRITE=yes bash "$TREEATTN_SOURCE_DIR/scripts/notebooks.sh" "$build"
says "no such notebook" '^no notebook 99; there are 01_' "$python" "$TREEATTN_SOURCE_DIR/scripts/notebooks.py" --check 99
cat >"$work/picture.py" <<'PYTHON'
import sys
sys.path.insert(0, "tree/notebooks")
import picture
p = picture.Picture("a line")
p.line([1, 2], [1, 2])
p.show()
PYTHON
expect "no gnuplot: the rest goes on" "picture left out: it needs gnuplot (sudo apt-get install -y --no-install-recommends gnuplot-nox)" \
    "$(PATH="$work/bin" "$python" "$work/picture.py" 2>&1)"

# ---- planted faults ----

# Two sound notebooks are recorded; the others are copies of them with a fault each.
export NOTEBOOKS=$work/tree/notebooks
rm "$work"/tree/notebooks/[0-9]*
check=("$python" "$TREEATTN_SOURCE_DIR/scripts/notebooks.py")
cat >"$NOTEBOOKS/01_sound.py" <<'PYTHON'
# %% [markdown]
# # A notebook
#
# [Its picture](picture.py).

# %%
import picture
print("one")
print("two")

# %%
p = picture.Picture("a line")
p.line([1, 2], [3, 4], "seen")
p.show()
PYTHON
sed 's/\[3, 4\]/[3, 5]/' "$NOTEBOOKS/01_sound.py" >"$NOTEBOOKS/02_stale_picture.py"
"${check[@]}" --write >"$work/out" 2>&1
expect "recorded" 2 "$(grep -c '^wrote .*[.]ipynb$' "$work/out")"

number=2
planted=()
# plant NAME PATTERN: a copy of the first notebook; its text has to match. `source` and `book` are its files.
plant() {
    number=$((number + 1))
    local name
    name=$(printf '%02d_%s' $number "$1")
    planted+=("$name|$2")
    source=$NOTEBOOKS/$name.py book=$NOTEBOOKS/$name.ipynb
    cp "$NOTEBOOKS/01_sound.py" "$source"
    cp "$NOTEBOOKS/01_sound.ipynb" "$book"
}
# both SED: the same change in source and notebook
both() { sed -i "$1" "$source" "$book"; }

planted+=("02_stale_picture|cell 3 draws another picture: script or data")
sed -i 's/\[3, 5\]/[3, 4]/' "$NOTEBOOKS"/02_stale_picture.*
plant stale_text "cell 2 prints something else, line 1: recorded 'uno', now 'one'"
sed -i 's/"one\\n"/"uno\\n"/' "$book"
plant changed_source "cell 2 is not as in the source, line 2: recorded 'print\(\"one\"\)', now 'print\(\"eins\"\)'"
sed -i 's/"one"/"eins"/' "$source"
plant further_cell "it has 3 cells, the source 4"
printf '\n# %%%%\nprint(3)\n' >>"$source"
plant timer "cell 2 has a timer: 'import time'"
both 's/import picture/import picture, time/'
sed -i 's/import picture, time/import time/' "$source" "$book"
plant clock "cell 2 has a timer: 'perf_counter'"
both 's/import picture/import picture; from t import perf_counter/'
plant path_in_source "cell 2 has an absolute path: '/opt/data'"
sed -i 's/import picture/import picture # \/opt\/data/' "$source"
plant path_in_output "the output of cell 2 has an absolute path: '/opt/data'"
sed -i 's/"two\\n"/"\/opt\/data\\n"/' "$book"
plant address "the output of cell 2 has an address: '0x7f00aa12'"
sed -i 's/"two\\n"/"<object at 0x7f00aa12>\\n"/' "$book"
plant host "cell 2 has a name of the machine: 'gethostname'"
both 's/import picture/import picture; from s import gethostname/'
plant svg "cell 3 shows image/svg[+]xml: only text and PNG"
sed -i 's#"image/png": "#"image/svg+xml": "#' "$book"
plant without_a_hash "a PNG without a hash"
"$python" - "$book" <<'PYTHON'
import base64, json, re, sys
text = open(sys.argv[1]).read()
old = re.search(r'"image/png": "([^"]*)"', text).group(1)
png = base64.b64decode(old)
length = int.from_bytes(png[33:37], "big")
open(sys.argv[1], "w").write(text.replace(old, base64.b64encode(png[:33] + png[45 + length:]).decode()))
PYTHON
plant damaged_picture "a damaged PNG"
sed -i 's#\("image/png": "[A-Za-z0-9+/]\{3000\}\)....#\1AAAA#' "$book"
plant error "cell 2 ends with ValueError: planted"
both 's/import picture/import picture; raise ValueError(1 * chr(112) + chr(108) + "anted")/; s/"anted"/'"'anted'"'/'
plant recorded_error "cell 2 has an error as its output: ValueError: planted"
"$python" - "$book" <<'PYTHON'
import json, sys
book = json.load(open(sys.argv[1]))
book["cells"][1]["outputs"] = [{"output_type": "error", "ename": "ValueError", "evalue": "planted", "traceback": []}]
open(sys.argv[1], "w").write(json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
PYTHON
plant dies "Python died in a cell"
both "s/import picture/import os; os.abort()/"
plant not_recorded "it is not there"
rm "$book"
plant no_notebook "it is no notebook"
echo '{"cells": [' >"$book"
plant no_text "it is no notebook"
printf '\377' >"$book"
plant source_no_text "'utf-8' codec can't decode byte 0xff"
printf '# %%%%\nprint("\377")\n' >"$source"
plant other_program "it was saved by another program"
sed -i 's/"nbformat_minor": 5/"nbformat_minor": 4/' "$book"
plant dead_link "cell 1 links to nowhere.md: no such file"
both 's/(picture.py)/(nowhere.md)/'
plant syntax "cell 2, line 2 is no Python"
both 's/print(.*"one.*")/print(/'
cp "$NOTEBOOKS/01_sound.ipynb" "$NOTEBOOKS/99_alone.ipynb"
planted+=("99_alone[.]ipynb|has no source")

"${check[@]}" --check >"$work/out" 2>&1
expect "planted faults: status" 1 $?
expect_match "the sound one passes" '^pass 01_sound: 3 cells, 1 pictures$' "$work/out"
for fault in "${planted[@]}"; do
    said=$(grep -E "^(pass|FAIL) ${fault%%|*}" "$work/out")
    if grep -qE "^FAIL ${fault%%|*}:? .*${fault#*|}" <<<"$said"; then
        pass "refused: ${fault%%|*}"
    else
        fail "refused: ${fault%%|*}" "expected /${fault#*|}/, got: $said"
    fi
done
expect "nothing else" "$((${#planted[@]} + 1))" "$(grep -cE '^(pass|FAIL) ' "$work/out")"
finish
