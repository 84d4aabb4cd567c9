#!/bin/bash
# setup.sh VERB: makes sure that the make verb has the programs that it needs. Where it may use apt-get (as root, or by
# sudo without a password) it installs the missing ones; otherwise it prints one line that names them. Exit 1 if the
# verb cannot do without one of them.
set -u
export DEBIAN_FRONTEND=noninteractive
verb=${1:?usage: setup.sh VERB}

case $PWD in *\\*) # CMake reads it as /; it names the other characters itself
    echo "make $verb cannot go on in $PWD: CMake cannot build in a path with a \\ in it; move the folder"
    exit 1
    ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }
# Compilers with their library's headers: gcc and clang alone do not bring them.
has_compiler() {
    local compiler
    compiler=$(command -v cc || command -v gcc || command -v clang) || return 1
    "$compiler" -E -include stdio.h -x c /dev/null >/dev/null 2>&1
}
has_cxx() {
    local compiler
    compiler=$(command -v c++ || command -v g++ || command -v clang++) || return 1
    "$compiler" -E -include vector -x c++ /dev/null >/dev/null 2>&1
}

# OpenBLAS with its header: model/ multiplies by it.
has_blas() {
    local compiler
    compiler=$(command -v cc || command -v gcc || command -v clang) || return 1
    "$compiler" -include cblas.h -x c -o /dev/null - -lopenblas <<<'int main(void) { return 0; }' >/dev/null 2>&1
}

# Sphinx and what docs/book/conf.py names, in the python3 that scripts/book.sh takes.
has_sphinx() {
    local python
    while read -r python; do
        "$python" -c 'import myst_parser, sphinx' 2>/dev/null </dev/null && return
    done < <(type -aP python3)
    return 1
}

# What scripts/notebooks.sh looks for, in the same way.
has_notebooks() {
    local python
    while read -r python; do
        "$python" -c 'import ipykernel, nbclient, numpy' 2>/dev/null </dev/null && return
    done < <(type -aP python3)
    return 1
}

# clang, lld, wasi-libc and clang's own library for WebAssembly.
has_wasm() { clang --target=wasm32-wasi -x c -o /dev/null - <<<'int main(void) { return 0; }' >/dev/null 2>&1; }

# clang does not bring its MemorySanitizer.
has_msan() { clang -fsanitize=memory -x c -o /dev/null - <<<'int main(void) { return 0; }' >/dev/null 2>&1; }

# Missing packages of the verb: needed ones, and those that it can go on without.
find_missing() {
    missing=() optional=()
    local notebooks=(python3-nbclient python3-ipykernel python3-numpy)
    local wasm=(clang lld wasi-libc libclang-rt-dev-wasm32)
    case $verb in
    figures | book | explorer) ;;
    exercise) has_compiler || missing+=(gcc libc6-dev) ;;
    *)
        has_compiler || missing+=(gcc libc6-dev)
        has cmake || missing+=(cmake)
        ;;
    esac
    case $verb in
    demo) has gnuplot || optional+=(gnuplot-nox) ;;
    test | exercise)
        has_cxx || optional+=(g++) # the kernels run on the host
        [ "$verb" = exercise ] || has_blas || optional+=(libopenblas-dev)
        ;;
    figures) has gnuplot || missing+=(gnuplot-nox) ;;
    tour)
        has gdb || missing+=(gdb)
        has_cxx || optional+=(g++) # the kernels of tours 5 and 6
        ;;
    book) has_sphinx || missing+=(python3-sphinx python3-myst-parser) ;;
    explorer) has_wasm || missing+=("${wasm[@]}") ;;
    notebooks)
        has gnuplot || missing+=(gnuplot-nox)
        has_notebooks || missing+=("${notebooks[@]}")
        ;;
    coverage) has gcovr || optional+=(gcovr) ;;
    ci)
        local tool
        has_cxx || missing+=(g++)
        for tool in gnuplot:gnuplot-nox clang:clang cppcheck:cppcheck shellcheck:shellcheck \
            pkg-config:pkg-config python3:python3 git:git gdb:gdb qemu-x86_64:qemu-user \
            chromium-headless-shell:chromium-headless-shell node:nodejs; do
            has "${tool%%:*}" || missing+=("${tool##*:}")
        done
        has_sphinx || missing+=(python3-sphinx python3-myst-parser)
        has_wasm || missing+=("${wasm[@]}")
        has_notebooks || missing+=("${notebooks[@]}")
        has_msan || missing+=(libclang-rt-dev)
        has_blas || missing+=(libopenblas-dev)
        ;;
    esac
}

# apt-get, where it may be used: words of the command, or nothing.
find_installer() {
    installer=()
    has apt-get || return
    if [ "$EUID" = 0 ]; then
        installer=(apt-get)
    elif has sudo && sudo -n true 2>/dev/null; then
        installer=(sudo -n apt-get)
    fi
}

install() {
    local offline=(-o Acquire::Retries=0 -o Acquire::http::Timeout=10)
    echo "setup: installing $*" >&2
    "${installer[@]}" "${offline[@]}" -qq update </dev/null >/dev/null 2>&1
    "${installer[@]}" "${offline[@]}" -qq -y --no-install-recommends install "$@" </dev/null >/dev/null 2>&1
}

find_missing
[ $((${#missing[@]} + ${#optional[@]})) -gt 0 ] || exit 0
find_installer
if [ ${#installer[@]} -gt 0 ]; then
    install "${missing[@]}" "${optional[@]}"
    hash -r
    find_missing
fi
if [ ${#missing[@]} -gt 0 ]; then
    packages=("${missing[@]}" "${optional[@]}")
    echo "make $verb cannot go on; do: sudo apt-get install -y --no-install-recommends ${packages[*]}"
    exit 1
elif [ ${#optional[@]} -gt 0 ]; then
    echo "make $verb goes on without ${optional[*]}: sudo apt-get install -y --no-install-recommends ${optional[*]}"
fi
