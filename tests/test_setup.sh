#!/bin/bash
# Claim: setup.sh names in one line the programs that a verb lacks, installs them where apt-get may be used, and stops
# only for those that the verb cannot do without. Machines are folders of stubs: PATH holds nothing else, so nothing
# real is installed.
# shellcheck disable=SC2016 # bodies of stubs
set -u
setup=$TREEATTN_SOURCE_DIR/scripts/setup.sh
machine=$(mktemp -d) odd=$(mktemp -d)
trap 'rm -rf "$machine" "$odd"' EXIT
bash=$(command -v bash)
rm=$(command -v rm)
failed=0 passed=0

stub() { # stub NAME [BODY]: a program of the machine
    printf '#!%s\n%s\n' "$bash" "${2:-exit 0}" >"$machine/$1"
    chmod +x "$machine/$1"
}

have() { # have NAME...: a machine with exactly these
    "$rm" -f "$machine"/*
    local name
    for name in "$@"; do stub "$name"; done
}

expect() { # expect CASE STATUS LINES PATTERN VERB
    local output status lines
    output=$(PATH=$machine "$bash" "$setup" "$5" 2>/dev/null)
    status=$?
    lines=$(printf '%s' "${output:+$output$'\n'}" | wc -l)
    if [ $status = "$2" ] && [ "$lines" = "$3" ] && [[ $output =~ $4 ]]; then
        echo "pass $1"
        passed=$((passed + 1))
    else
        echo "FAIL $1: status $status (expected $2), $lines lines (expected $3), said '$output' (expected /$4/)"
        failed=$((failed + 1))
    fi
}

have cc cmake gnuplot
expect "nothing missing: silent" 0 0 '^$' demo
have cc c++
expect "no cmake: stops, names it alone" 1 1 'install .* cmake$' test
have cmake c++
expect "no compiler: names it with the C library" 1 1 'install .* gcc libc6-dev libopenblas-dev$' test
stub cc 'exit 1'
expect "a compiler without headers is none" 1 1 'gcc libc6-dev libopenblas-dev$' test
have
expect "bare: all of it in one line" 1 1 'gcc libc6-dev cmake g[+][+] libopenblas-dev$' test
expect "bare, demo: gnuplot in the same line" 1 1 'gcc libc6-dev cmake gnuplot-nox$' demo
have cc cmake
expect "demo without gnuplot goes on" 0 1 'goes on without gnuplot-nox' demo
expect "figures without gnuplot stops" 1 1 'gnuplot-nox$' figures
expect "test without a C++ compiler goes on" 0 1 'goes on without g[+][+]:' test
have cc cmake c++
stub c++ 'exit 1'
expect "a C++ compiler without headers is none" 0 1 'goes on without g[+][+]:' test
have cc cmake c++
stub cc '[[ "$*" != *-lopenblas* ]]'
expect "test without OpenBLAS goes on" 0 1 'goes on without libopenblas-dev:' test
for cxx in c++ g++ clang++; do
    have cc cmake "$cxx"
    expect "test needs no more than a C++ compiler: $cxx" 0 0 '^$' test
done
expect "the book without Sphinx stops" 1 1 'install .* python3-sphinx python3-myst-parser$' book
expect "notebooks without nbclient and gnuplot stops" 1 1 \
    'install .* gnuplot-nox python3-nbclient python3-ipykernel python3-numpy$' notebooks
expect "coverage without gcovr goes on" 0 1 'goes on without gcovr' coverage

# The container for editors: git and make, and what setup.sh names for README's two commands, the tour, the book and the
# notebooks on a bare machine.
have
named=$(for verb in demo test tour book notebooks; do PATH=$machine "$bash" "$setup" $verb 2>/dev/null; done |
    sed 's/.*--no-install-recommends //' | tr ' ' '\n' | sort -u)
container=$(sed -n 's/^ \{4\}\([^&]*\)\\$/\1/p' "$TREEATTN_SOURCE_DIR/.devcontainer/Dockerfile" | tr -s ' ' '\n' | sort -u)
if [ -n "$named" ] && [ "$container" = "$(printf '%s\n' "$named" git make ca-certificates | sort -u)" ]; then
    echo "pass the container has what setup.sh installs"
    passed=$((passed + 1))
else
    echo "FAIL .devcontainer/Dockerfile installs: $container; setup.sh: $named"
    failed=$((failed + 1))
fi

have clang clang++ cmake
expect "clang is a compiler too" 0 0 '^$' test

have cc cmake c++
mkdir "$odd/back\\slash"
cd "$odd/back\\slash" || exit 1
expect "a path that CMake cannot read" 1 1 'move the folder$' test
cd "$TREEATTN_SOURCE_DIR" || exit 1

# An apt-get that installs: it makes stubs of the packages that are named to it. Root calls it directly, other users
# through sudo.
installing_apt=$(printf '%s\n' 'case "$*" in *" install "*) ;; *) exit 0 ;; esac' \
    'for package; do case $package in' \
    'gcc) name=cc ;; gnuplot-nox) name=gnuplot ;; cmake) name=cmake ;; *) continue ;; esac' \
    "printf '#!$bash\n' >'$machine/'\$name; $(command -v chmod) +x '$machine/'\$name; done")
have
stub apt-get "$installing_apt"
stub sudo '[ "$1" = -n ] && shift; [ "$1" = true ] || "$@"'
expect "installs what demo needs" 0 0 '^$' demo
for name in cc cmake gnuplot; do
    [ -x "$machine/$name" ] || { echo "FAIL installs $name"; failed=$((failed + 1)); }
done
have
stub apt-get 'exit 100'
stub sudo '[ "$1" = -n ] && shift; [ "$1" = true ] || "$@"'
expect "offline: names what is missing" 1 1 'gcc libc6-dev cmake g[+][+] libopenblas-dev$' test
have cc cmake
stub apt-get 'exit 100'
stub sudo 'exit 1'
expect "no rights, only optional missing: goes on" 0 1 'goes on without gnuplot-nox' demo

echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ] && [ $passed -gt 0 ]
