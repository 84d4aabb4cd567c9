#!/bin/bash
# tour.sh: gdb inside the book's tiny tree, at a line that is worth standing in. No GPU.
#
#   tour.sh run [N [BUILD]]    tour N, by default the first: make tour N=3
#   tour.sh build [BUILD]      their programs alone, for .vscode/launch.json
#   tour.sh --write [BUILD]    rewrites docs/book/tours/*.txt, what each tour prints
#   tour.sh --check [BUILD]    status 1 if one of them differs; 77 where gdb cannot run a program
#
# A tour is docs/book/tours/N_NAME.gdb: the way to a stop; the line "# ---- What you may type"; then commands, with
# comments. The reader gets the first part and gdb's prompt. The transcript is the whole, and so is the output where
# there is no terminal. The programs of the tours are built in BUILD (build-tour), with -O0 -g.
set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C SHELL=/bin/sh DEBUGINFOD_URLS='' OMP_NUM_THREADS=1
tours=${TOURS:-docs/book/tours} # set by a test
marker='^# ---- What you may type'

stop() { # STATUS MESSAGE
    echo "make tour: $2" >&2
    exit "$1"
}

# "1 absorb, 2 fork, ..."
list() {
    local file text=
    for file in "$tours"/[0-9]*.gdb; do
        file=${file##*/} file=${file%.gdb}
        text+="${text:+, }${file/_/ }"
    done
    echo "$text"
}

# The script of tour N; fails if there is none.
tour_file() {
    local file
    [[ $1 =~ ^[0-9]+$ ]] || return 1
    for file in "$tours/$1"_*.gdb; do
        [ -f "$file" ] && echo "$file" && return
    done
    return 1
}

# The program of a tour.
program_of() { sed -n 's/^# Program: //p' "$1"; }

# Quiet, unless it fails.
configure() { # BUILD
    cmake -S . -B "$1" --log-level=NOTICE -DTREEATTN_CUDA=OFF -DCMAKE_BUILD_TYPE=Debug \
        -DCMAKE_C_FLAGS_DEBUG='-O0 -g' -DCMAKE_CXX_FLAGS_DEBUG='-O0 -g' >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
}

# Quiet, unless it fails. Fails without a word if the kernels cannot be emulated here.
build() { # BUILD TARGET
    cmake --build "$1" --parallel "${jobs:-2}" --target "$2" >"$work/log" 2>&1 && return
    ! grep -qE "No rule to make target '$2'\. |unknown target '$2'" "$work/log" || return 1 # make, ninja
    cat "$work/log" >&2
    exit 1
}

# No settings of the user's, and no scripts of other packages.
settings=(-nx -q -iex 'set auto-load no' -iex 'set confirm off' -iex 'set pagination off'
    -iex 'set filename-display basename' -iex 'set disable-randomization off' -iex 'set print thread-events off'
    -iex 'set print frame-arguments presence')
# The clone's own script, though auto-load is off.
printers=(-ex 'source scripts/gdb_printers.py')

# Not every gdb has it: the printers need it.
has_python() { gdb -nx -q -batch -ex 'python print(6 * 7)' 2>/dev/null | grep -qx 42; }

# Whether gdb may run a program: containers forbid it at times.
may_run() {
    gdb "${settings[@]}" -batch -ex run -ex 'info program' /bin/true </dev/null 2>&1 |
        grep -q 'exited normally'
}

# A tour with its second part typed in. Left out: addresses, and the lines about breakpoints and threads.
transcript() { # FILE BUILD
    awk -v marker="$marker" '
        $0 ~ marker { print "set trace-commands on"; next }
        /^# / { print "echo \\" $0 "\\n"; next }
        /^$/ { print "echo \\n"; next }
        { print }' <(sed "/$marker/,\$!{ /^#/d; }" "$1") >"$work/script"
    gdb "${settings[@]}" -batch -iex 'set style enabled off' -iex 'set width 0' "${printers[@]}" -x "$work/script" \
        "$2/$(program_of "$1")" 2>&1 </dev/null |
        sed -E '/^\++echo /d; s/^\+/(gdb) /; /^\+/d; s/^(#[0-9]+ +)?0x[0-9a-f]+ in /\1/
            /^(Temporary b|B)reakpoint [0-9]+ at 0x/d; /^\[Thread debugging/d; /^Using host libthread/d
            /^Run till exit/d; /^\[Inferior 1 /d; s/^(Temporary breakpoint [0-9]+)\.[0-9]+/\1/
            s/^(\$[0-9]+ = )\([^)]* &\) @0x[0-9a-f]+: /\1/' |
        awk 'begun { print } /^$/ { begun = 1 }' | sed '/^$/{ N; s/^\n\(Temporary\)/\1/; }' | cat -s
}

# Writes or compares all transcripts.
all_tours() { # --write | --check, BUILD
    local file text failed=0
    command -v gdb >/dev/null || { echo "skip tour no gdb"; exit 77; }
    has_python || { echo "skip tour gdb is built without Python"; exit 77; }
    may_run || { echo "skip tour gdb may not run a program here (ptrace is forbidden)"; exit 77; }
    configure "$2"
    for file in "$tours"/[0-9]*.gdb; do
        text=${file%.gdb}.txt
        build "$2" "$(program_of "$file")" || { echo "skip ${file##*/} no C++ compiler"; continue; }
        transcript "$file" "$2" >"$work/text"
        if grep 'Error in sourced command file' -A 1 "$work/text"; then
            echo "FAIL ${file##*/} stops early"
            failed=1
        elif [ "$1" = --write ]; then
            cp "$work/text" "$text"
        elif diff -u "$text" "$work/text"; then
            echo "pass ${file##*/}"
        else
            echo "FAIL ${file##*/} prints another text than ${text##*/}; if that is right: scripts/tour.sh --write"
            failed=1
        fi
    done
    exit $failed
}

run() { # N BUILD
    local file
    file=$(tour_file "$1") || stop 2 "N: expected one of $(list); got '${1:0:80}'"
    command -v gdb >/dev/null || stop 1 "needs gdb: sudo apt-get install -y --no-install-recommends gdb"
    configure "$2"
    build "$2" "$(program_of "$file")" ||
        stop 1 "tour $1 needs a C++ compiler: sudo apt-get install -y --no-install-recommends g++"
    if ! has_python; then
        echo "make tour: this gdb is built without Python, so it runs without scripts/gdb_printers.py"
        printers=()
    fi
    may_run || stop 1 "gdb may not run a program here: ptrace is forbidden (docker run --cap-add=SYS_PTRACE allows it)"
    if [ ! -t 0 ] || [ ! -t 1 ]; then
        echo "make tour: no terminal, so the tour runs through" >&2
        transcript "$file" "$2"
        return
    fi
    sed "/$marker/,\$d" "$file" >"$work/script"
    trap '' INT # Ctrl-C is gdb's
    gdb "${settings[@]}" "${printers[@]}" -x "$work/script" "$2/$(program_of "$file")"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case ${1:-} in
run) run "${2:-1}" "${3:-build-tour}" ;;
build) configure "${2:-build-tour}" && build "${2:-build-tour}" tiny_tree && build "${2:-build-tour}" tiny_kernel ;;
--write | --check) all_tours "$1" "${2:-build-tour}" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
