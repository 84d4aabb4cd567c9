#!/bin/bash
# Claim: includes only point down. A folder includes from the folders that the table below allows, and no files include
# each other in a circle. A header and its source count as one file: a.c -> b.h with b.c -> a.h is a circle. A private
# header, NAME_internal.h, belongs to its whole folder: for the sources that include it, it is part of no circle.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"

# A folder, and the folders that it may include from beside itself. FOLDER/FILE: this file alone, with the reason.
table='
allocator
reference/shape
reference/plan       reference/shape allocator
reference            reference/plan reference/shape allocator
reference/eviction   reference reference/plan reference/shape allocator
reference/cpu        reference/eviction reference/plan reference/shape allocator
reference/workloads  reference/shape allocator
gpu                  gpu/device reference/eviction reference/plan reference/shape allocator
gpu/device           gpu reference/plan reference/shape
gpu/worker           gpu/device gpu reference/plan reference/shape
gpu/ladder           gpu/worker gpu/device gpu reference/plan reference/shape
gpu/eviction         gpu/worker gpu/device gpu reference/eviction reference/plan reference/shape
gpu/emulate          reference/shape
model                gpu reference reference/eviction reference/cpu reference/plan reference/shape allocator
measure              gpu reference reference/eviction reference/cpu reference/plan reference/workloads reference/shape allocator
tools                measure model reference reference/eviction reference/cpu reference/plan reference/workloads reference/shape allocator
figures              measure model gpu reference reference/eviction reference/cpu reference/plan reference/workloads reference/shape allocator
reference/treeattn.h reference/cpu reference/workloads reference/eviction     # the umbrella: it includes every public header
gpu/device/device.cuh gpu/emulate                          # without a GPU compiler, CUDA is emulated
model/transformer.cu gpu/device                            # kernels of its own, launched and emulated as those of gpu
model/products.cuh   gpu/device                            # the same
measure/rung.c       tests                                 # compares a rung with the oracles of the tests
figures/growth.c     tests                                 # counts the steps of the library as the tests do
'

# includes: INCLUDING-FILE NAME for each #include "NAME" under the folders of the table, as paths from here.
includes() {
    find allocator reference gpu model measure tools figures -type f -regex '.*\.\(c\|h\|cu\|cuh\|cpp\)' 2>/dev/null | sort |
        xargs grep -HE '^[ \t]*#[ \t]*include[ \t]*"' | sed -E 's/^([^:]*):[^"]*"([^"]*)".*/\1 \2/'
}

# edges: INCLUDING-FILE INCLUDED-FILE. The included file lies in the folder of the including one, or its name is unique.
edges() {
    find allocator reference gpu model measure tools figures tests -type f 2>/dev/null >"$work/files"
    includes | awk -v files="$work/files" '
        BEGIN {
            while ((getline path < files) > 0) {
                exists[path] = 1
                name = path; sub(".*/", "", name)
                count[name]++; of[name] = path
            }
        }
        {
            folder = $1; sub("/[^/]*$", "", folder)
            name = $2; sub(".*/", "", name)
            if ((folder "/" $2) in exists) print $1, folder "/" $2
            else if (count[name] == 1) print $1, of[name]
            else print $1, "?" $2
        }'
}

# violations: what the files under the current folder do against the claim, one a line.
violations() {
    edges >"$work/edges"
    awk -v table="$table" '
        function folder_of(path) { sub("/[^/]*$", "", path); return path }
        BEGIN {
            rows = split(table, row, "\n")
            for (i = 1; i <= rows; i++) {
                sub("#.*", "", row[i])
                columns = split(row[i], column, " +")
                known[column[1]] = 1
                for (j = 2; j <= columns; j++) allowed[column[1], column[j]] = 1
            }
        }
        {
            from = folder_of($1); to = folder_of($2)
            if ($2 ~ /^\?/) print $1 " includes " substr($2, 2) ": no such file, or several"
            else if (!(from in known)) print $1 ": " from " has no line in the table"
            else if (from == "model" && to != "model" && $2 ~ /(_internal|_cpu_[^/]+)\.h$/)
                print $1 " includes " $2 ": not a public header" # model/ tries the interface that is installed
            else if (from != to && !((from, to) in allowed) && !(($1, to) in allowed)) print $1 " includes " $2
        }' "$work/edges"
    grep -vE '\.(c|cu|cpp) .*_internal\.h$' "$work/edges" | sed -E 's/\.(c|h|cu|cuh|cpp)( |$)/\2/g' |
        awk '$1 != $2' | sort -u | tsort 2>&1 >/dev/null |
        sed -E 's/^tsort: //; s/^-: input contains a loop:/a circle:/' | paste -sd ' '
}

cd "$TREEATTN_SOURCE_DIR" || exit 1
expect "the repository" "" "$(violations | sed '/^$/d')"
expect "its includes are found" 1 "$(($(wc -l <"$work/edges") > 150))"
grep -rhoE '#include <[^>]+>' allocator reference gpu model measure tools figures | grep -oE '[^</]+\.h' >"$work/system"
expect "none of the project's headers is included with <>" "" \
    "$(find allocator reference model measure tools -name '*.h' | sed 's#.*/##' | grep -xFf "$work/system")"

# Planted: each must be seen.
plant() { # plant FILE NAME...: a file that includes these
    local file=$1 name
    shift
    mkdir -p "$(dirname "$file")"
    for name in "$@"; do echo "#include \"$name\""; done >"$file"
}
seen() { # seen NAME WANTED: violations of the planted files, which are removed
    expect "planted: $1" "$2" "$(violations | sed '/^$/d; s/ *$//')"
    rm -rf allocator reference gpu model measure tools figures tests
}
mkdir "$work/planted" && cd "$work/planted" || exit 1
plant reference/shape/a.h && plant reference/plan/b.h a.h && plant reference/cpu/c.c b.h a.h
seen "nothing" ""
plant reference/shape/a.h && plant allocator/b.c a.h
seen "up" "allocator/b.c includes reference/shape/a.h"
plant reference/cpu/a.h && plant reference/b.c a.h
seen "sideways" "reference/b.c includes reference/cpu/a.h"
plant gpu/emulate/emulate.h && plant gpu/device/device.cuh emulate.h && plant gpu/device/mma.cuh emulate.h
seen "an exception is one file's" "gpu/device/mma.cuh includes gpu/emulate/emulate.h"
plant tests/test.h && plant tools/a.c test.h
seen "the program needs no test" "tools/a.c includes tests/test.h"
plant reference/cpu/rows_internal.h && plant model/a.c rows_internal.h
seen "model, a private header" "model/a.c includes reference/cpu/rows_internal.h: not a public header"
plant reference/new/a.h && plant reference/new/b.c a.h
seen "a new folder" "reference/new/b.c: reference/new has no line in the table"
plant allocator/b.c missing.h
seen "no such header" "allocator/b.c includes missing.h: no such file, or several"
plant allocator/a.h && plant allocator/b.h && plant allocator/a.c a.h b.h && plant allocator/b.c b.h a.h
seen "a circle of pairs" "a circle: allocator/a allocator/b"
plant allocator/a.h && plant allocator/b.h a.h && plant allocator/a_internal.h a.h b.h
plant allocator/a.c a.h a_internal.h && plant allocator/b.c b.h a_internal.h
seen "a private header is its folder's" ""
plant allocator/a.h b_internal.h && plant allocator/b_internal.h a.h
seen "a circle through a private header" "a circle: allocator/a allocator/b_internal"
plant gpu/a.cuh b.cuh && plant gpu/device/b.cuh c.cuh && plant gpu/device/c.cuh a.cuh
seen "a circle of three" "a circle: gpu/a gpu/device/b gpu/device/c"
finish
