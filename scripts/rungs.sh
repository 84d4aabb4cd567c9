#!/bin/bash
# rungs.sh: the ladder's rungs as text: gpu/ladder/step_N_*.cu and the files that they include.
#
#   rungs.sh run N [BUILD]   checks and times rung N, on TREE if that is set: make rung STEP=N
#   rungs.sh diff N          the lines that rung N adds to rung N - 1: make diff STEP=N
#   rungs.sh added N         the number of lines that it adds
#   rungs.sh files N         the files of its closure
#   rungs.sh code FILE...    lines of code
#
# Closure: the rung's own file, and what it includes of gpu/ladder, gpu/device and gpu/worker, directly or not.
# Added lines: the lines of code of the rung's own file that the file of the rung before lacks (as diff counts them),
# and all lines of code of files that are in its closure and not in that of the rung before. A line of code is a line
# with something left when comments are taken out. Rung 0 adds all of its closure.
set -u
cd "$(dirname "$0")/.." || exit 1
rooms=(gpu/ladder gpu/device gpu/worker)

bad() { # MESSAGE
    echo "make ${verb:-rung}: $1" >&2
    exit 2
}

# The file of a rung; fails if there is none.
rung_file() {
    local file
    for file in gpu/ladder/step_"$1"_*.cu; do
        [ -f "$file" ] && echo "$file" && return
    done
    return 1
}

need_rung() { # N
    local all=(gpu/ladder/step_*_*.cu)
    local last=$((${#all[@]} - 1))
    if ! [[ $1 =~ ^(0|[1-9][0-9]?)$ ]] || [ "$1" -gt $last ]; then
        bad "STEP: expected a rung, 0 to $last; got '${1:0:80}'"
    fi
}

# Lines of code, without blanks at either end.
code() {
    awk '{
        line = $0
        text = ""
        while (line != "") {
            if (inside) {
                end = index(line, "*/")
                line = end ? substr(line, end + 2) : ""
                inside = !end
            } else {
                begin = index(line, "/*")
                text = text (begin ? substr(line, 1, begin - 1) : line)
                line = begin ? substr(line, begin + 2) : ""
                inside = begin > 0
            }
        }
        gsub(/^[ \t]+|[ \t]+$/, "", text)
        if (text != "")
            print text
    }' "$@"
}

closure() { # N
    local -A seen=()
    local files todo line room
    files=("$(rung_file "$1")")
    for ((todo = 0; todo < ${#files[@]}; todo++)); do
        while IFS= read -r line; do
            [[ $line =~ ^'#include "'(.*)'"'$ ]] || continue
            for room in "${rooms[@]}"; do
                line=$room/${BASH_REMATCH[1]}
                if [ ! -f "$line" ] || [ -n "${seen[$line]:-}" ]; then continue; fi
                seen[$line]=1
                files+=("$line")
            done
        done < <(grep '^#include' "${files[todo]}")
    done
    printf '%s\n' "${files[@]}"
}

# The files of a rung's closure that are not in that of the rung before; of rung 0, all but its own.
new_files() { # N
    if [ "$1" = 0 ]; then
        closure 0 | tail -n +2
    else
        comm -13 <(closure $(($1 - 1)) | sort) <(closure "$1" | sort) | grep -vxF "$(rung_file "$1")"
    fi
}

# The file that a rung's own is compared with.
file_before() { if [ "$1" = 0 ]; then echo /dev/null; else rung_file $(($1 - 1)); fi; }

own_added() { diff <(code "$(file_before "$1")") <(code "$(rung_file "$1")") | grep -c '^>'; }

added() { # N
    local new=/dev/null
    mapfile -t new < <(new_files "$1")
    echo $(($(own_added "$1") + $(code /dev/null "${new[@]}" | wc -l)))
}

show() { # N
    local file before after
    before=$(file_before "$1") after=$(rung_file "$1")
    diff -u --color=auto --label "$before" --label "$after" "$before" "$after"
    echo
    echo "rung $1 adds $(added "$1") lines of code to rung $(($1 - 1)):"
    printf '%5d  %s (lines that differ)\n' "$(own_added "$1")" "$after"
    for file in $(new_files "$1"); do printf '%5d  %s (new)\n' "$(code "$file" | wc -l)" "$file"; done
}

# The program that runs a rung: on a GPU where there is one, else emulated.
run() { # N BUILD
    local build=${2:-build} status=77
    if [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; then
        build_program "$build" rung && { "$build/rung" "$1" "${TREE:-}"; status=$?; }
    fi
    [ $status = 77 ] || return $status
    build_program "$build" rung_emulated || bad "needs a GPU with nvcc, or a C++ compiler, which emulates one"
    "$build/rung_emulated" "$1" "${TREE:-}"
}

build_program() { # BUILD TARGET: quiet, unless it fails; fails without a word where CMake knows no such target
    LC_ALL=C cmake --build "$1" --parallel "${jobs:-2}" --target "$2" >"$1/rung.log" 2>&1 && return
    ! grep -qE "No rule to make target '$2'\. |unknown target '$2'" "$1/rung.log" || return 1 # make, ninja
    cat "$1/rung.log" >&2
    exit 1
}

case ${1:-} in
code) shift; code "$@"; exit ;;
run) verb="rung" ;;
diff | added | files) verb="diff" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
need_rung "${2:-}"
case $1 in
run) run "$2" "${3:-build}" ;;
diff) [ "$2" != 0 ] || bad "STEP: rung 0 is the first one, it adds to none"; show "$2" ;;
added) added "$2" ;;
files) closure "$2" ;;
esac
