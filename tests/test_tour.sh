#!/bin/bash
# Claim: each tour of make tour prints its transcript in docs/book/tours, whatever the user's gdb settings and
# with a blank in a path; what it tells its reader to try works; bad numbers and a missing gdb get one line each;
# .vscode names things that exist.
# Not sanitized: the tours have a build of their own.
set -uo pipefail
: "${TREEATTN_SOURCE_DIR:=$(cd "$(dirname "$0")/.." && pwd)}" "${TREEATTN_BUILD_DIR:=$TREEATTN_SOURCE_DIR/build}"
cd "$TREEATTN_SOURCE_DIR" || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build="$TREEATTN_BUILD_DIR/a tour" # with a blank
failed=0
fail() {
    echo "FAIL $*"
    failed=$((failed + 1))
}
expect() { # NAME STATUS STATUS_FOUND PATTERN: of the only line in $work/out
    if [ "$2" = "$3" ] && [ "$(wc -l <"$work/out")" = 1 ] && grep -qE -- "$4" "$work/out"; then
        echo "pass $1"
    else
        fail "$1: status $3 instead of $2, or not one line like '$4':"
        cat "$work/out"
    fi
}

# Parts that need no gdb.
last=$(find docs/book/tours -name '[0-9]*.gdb' | wc -l)
for number in 0 $((last + 1)) 01 -1 1x '1 2' ../1; do
    scripts/tour.sh run "$number" "$work/none" >"$work/out" 2>&1
    expect "tour '$number'" 2 $? "^make tour: N: expected one of 1 absorb, 2 fork, .*; got '$number'\$"
done
mkdir "$work/bin"
for program in bash dirname sed mktemp rm; do ln -s "$(command -v $program)" "$work/bin/$program"; done
PATH=$work/bin scripts/tour.sh run 1 "$work/none" >"$work/out" 2>&1
expect "no gdb" 1 $? '^make tour: needs gdb: sudo apt-get install .* gdb$'
# A gdb without Python; one that may not run a program.
mkdir "$work/no_python" "$work/no_ptrace"
printf '#!/bin/sh\nexit 1\n' >"$work/no_python/gdb"
printf '#!/bin/sh\ncase $* in *python*) echo 42 ;; esac\n' >"$work/no_ptrace/gdb"
chmod +x "$work"/no_*/gdb
PATH=$work/no_python:$PATH scripts/tour.sh --check "$work/none" >"$work/out" 2>&1
expect "a gdb without Python" 77 $? '^skip tour gdb is built without Python$'
PATH=$work/no_ptrace:$PATH scripts/tour.sh --check "$work/none" >"$work/out" 2>&1
expect "no ptrace" 77 $? '^skip tour gdb may not run a program here'
[ ! -e "$work/none" ] || fail "a build without need"
for script in docs/book/tours/[0-9]*.gdb; do
    [ -f "${script%.gdb}.txt" ] || fail "$script has no transcript"
    awk '/^# Tour [0-9]+: .*\.$/ { title = NR } /^# Program: tiny_(tree|kernel)$/ { program = NR }
        /^# ---- What you may type/ { typed = NR }
        END { exit !(title == 1 && program == 2 && typed) }' "$script" ||
        fail "$script: not title, program, way, commands"
done

# .vscode: JSON, and what it names.
if command -v python3 >/dev/null; then
    python3 - <<'END' || fail ".vscode"
import json, os, re
launch, tasks = (json.load(open('.vscode/%s.json' % name)) for name in ('launch', 'tasks'))
labels = {task['label'] for task in tasks['tasks']}
assert len(launch['configurations']) >= 2
source = open('CMakeLists.txt').read() + open('scripts/tour.sh').read()
for one in launch['configurations']:
    assert one['preLaunchTask'] in labels, one['preLaunchTask']
    program = re.fullmatch(r'\$\{workspaceFolder\}/build-tour/(\w+)', one['program']).group(1)
    assert 'build "${2:-build-tour}" %s' % program in source and os.path.isfile('docs/book/%s.c' % program), program
    commands = ' '.join(command['text'] for command in one['setupCommands'])
    for path in re.findall(r'\$\{workspaceFolder\}/(\S+)', commands):
        assert os.path.isfile(path), path
    function = re.search(r'-break-insert .* (\w+)$', commands).group(1)
    places = ['reference/softmax_state.h'] if program == 'tiny_tree' else ['gpu/ladder/step_0_naive.cu']
    assert any(re.search(r'\bvoid %s\(' % function, open(place).read()) for place in places), function
for task in tasks['tasks']:
    path = task['command'].replace('${workspaceFolder}/', '')
    assert os.access(path, os.X_OK), path
END
else
    echo "skip tour_vscode no python3"
fi

# Settings of a user that would spoil a transcript.
mkdir -p "$work/home/.config/gdb"
printf 'set print frame-info short-location\nset print array on\n' |
    tee "$work/home/.gdbinit" >"$work/home/.config/gdb/gdbinit"
HOME=$work/home XDG_CONFIG_HOME=$work/home/.config scripts/tour.sh --check "$build" >"$work/check"
status=$?
cat "$work/check"
if [ $status = 77 ]; then
    [ $failed = 0 ] || exit 1
    exit 77
fi
[ $status = 0 ] || fail "transcripts: status $status"
[ "$(grep -cE '^(pass|skip) [0-9]+_' "$work/check")" = "$last" ] || fail "not $last tours"
scripts/tour.sh run 1 "$build" >"$work/out" 2>"$work/err" </dev/null || fail "without a terminal: status $?"
diff docs/book/tours/1_absorb.txt "$work/out" || fail "without a terminal the tour does not run through"
grep -qx 'make tour: no terminal, so the tour runs through' "$work/err" || fail "no word about the terminal"

# What a tour tells its reader to try works where the reader stands: a tour of these commands does not stop early.
mkdir "$work/hints"
for script in docs/book/tours/[0-9]*.gdb; do
    { sed '/^# ---- What you may type/q' "$script"
        sed -nE 's/^echo \\ {4}([^ ].*)\\n$/\1/p' "$script" | sed -E 's/ {2,}.*//'; } >"$work/hints/${script##*/}"
    [ "$(sed '1,/^# ----/d' "$work/hints/${script##*/}" | wc -l)" -ge 3 ] || fail "$script: fewer than 3 things to try"
done
TOURS="$work/hints" scripts/tour.sh --check "$build" >"$work/check" 2>&1
[ "$(grep -cE 'prints another text|^skip [0-9]' "$work/check")" = "$last" ] || fail "what a tour says to try: $(cat "$work/check")"

# A transcript that has become wrong is noticed, and so is a script that stops early.
mkdir "$work/wrong tours"
cp docs/book/tours/1_* "$work/wrong tours"
noticed() { # NAME PATTERN: exactly one tour fails, with this line
    local status=0
    TOURS="$work/wrong tours" scripts/tour.sh --check "$build" >"$work/check" 2>&1 || status=$?
    if [ $status = 1 ] && [ "$(grep -c '^FAIL' "$work/check")" = 1 ] && grep -q "$2" "$work/check"; then
        echo "pass noticed: $1"
    else
        fail "$1: status $status"
        cat "$work/check"
    fi
}
sed -i 's/m=2 l=1\.5530/m=2 l=1.5531/' "$work/wrong tours/1_absorb.txt"
noticed "a wrong number in a transcript" '^FAIL 1_absorb.gdb prints another text'
cp docs/book/tours/1_absorb.txt "$work/wrong tours"
sed -i 's/^print score$/print scores/' "$work/wrong tours/1_absorb.gdb"
noticed "a command that fails" '^FAIL 1_absorb.gdb stops early'
[ $failed = 0 ]
