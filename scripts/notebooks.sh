#!/bin/bash
# notebooks.sh [BUILD]: runs the notebooks, all or number N, and compares them with their recorded outputs; with WRITE=1,
# records them: scripts/notebooks.py. The library for Python and the program are built first, in BUILD.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:-build}
case ${WRITE:-0} in
0) verb=--check ;;
1) verb=--write ;;
*) echo "WRITE=$WRITE: expected 1, to record the outputs, or nothing" && exit 1 ;;
esac

# The first python3 that has them: one that was installed beside Debian's may have not.
while read -r python; do
    ! "$python" -c 'import ipykernel, nbclient, numpy' 2>/dev/null </dev/null || break
done < <(type -aP python3)
if [ -z "$python" ]; then
    echo "make notebooks needs nbclient, ipykernel and NumPy: sudo apt-get install -y --no-install-recommends" \
        "python3-nbclient python3-ipykernel python3-numpy"
    exit 77
fi
if ! command -v gnuplot >/dev/null; then
    echo "make notebooks needs gnuplot: sudo apt-get install -y --no-install-recommends gnuplot-nox"
    exit 77
fi
log=$build/notebooks.log
if ! cmake --build "$build" --parallel "${jobs:-2}" --target treeattn_shared treeattn_program >"$log" 2>&1; then
    cat "$log"
    exit 1
fi
TREEATTN_LIB=$(cd "$build" && pwd)/python/libtreeattn.so exec "$python" scripts/notebooks.py "$verb" ${N:+"$N"}
