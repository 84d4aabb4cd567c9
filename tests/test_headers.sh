#!/bin/bash
# Claim: every public header compiles alone, twice and in any order, as C11 and as C++11 to 20, with gcc and clang,
# pedantic and without a warning; and from C++ each function and table that they declare links to the C library.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
if [ -n "$(sed -n 's/^TREEATTN_SANITIZE:[A-Z]*=//p' "${TREEATTN_BUILD_DIR:?}/CMakeCache.txt")" ]; then
    skip test_headers "the headers and names are those of the plain build"
    exit 77
fi
cd "$TREEATTN_SOURCE_DIR" || exit 1
flags=(-pedantic -Wall -Wextra -Werror)
for folder in "${rooms[@]}" gpu gpu/emulate; do # the last: cuda_runtime_api.h where there is no CUDA
    flags+=("-I$PWD/$folder")
done

# What CMakeLists.txt installs, and gpu/ without the emulator itself.
headers=()
shopt -s nullglob
for folder in "${rooms[@]}" gpu; do for header in "$folder"/*.h; do
    [[ $header =~ (_internal|_cpu_.+|/emulate)\.h$ ]] || headers+=("$header")
done; done
for header in "${headers[@]##*/}"; do
    printf '#include "%s"\n#include "%s"\n' "$header" "$header" >"$work/${header%.h}.c"
    echo "#include \"$header\"" >>"$work/all_forward.c"
done
tac "$work/all_forward.c" >"$work/all_backward.c"
sed -n 's/.*"\([^"]*\.h\)".*/\1/p' "${TREEATTN_BUILD_DIR:?}/cmake_install.cmake" | sed "s#^$PWD/##" >"$work/installed"
expect "some headers are installed" 1 "$(($(wc -l <"$work/installed") > 10))"
expect "each of them is tried here" "" "$(printf '%s\n' "${headers[@]}" | grep -vxFf - "$work/installed")"

for compiler in gcc:c11 clang:c11 g++:c++{11,14,17,20} clang++:c++{11,14,17,20}; do
    standard=${compiler#*:} compiler=${compiler%:*}
    name="${#headers[@]} headers, $compiler -std=$standard"
    if [ "${CI:-false}" = false ] && [[ $compiler = clang* ]]; then # half of the time
        skip "$name" "clang: in CI, or with CI=true"
    elif ! command -v "$compiler" >/dev/null; then
        skip "$name" "no $compiler"
    elif (cd "$work" && "$compiler" -x "${standard%%[0-9]*}" "-std=$standard" -fsyntax-only "${flags[@]}" ./*.c) \
        2>"$work/err"; then
        pass "$name"
    else
        fail "$name" "$(grep -m 5 error "$work/err")"
    fi
done

# A name that C++ refers to by another name than the library's has lost its extern "C".
nm -g --defined-only "$TREEATTN_BUILD_DIR/libtreeattn.a" | awk 'NF == 3 { print $3 }' | sort -u >"$work/defined"
mapfile -t installed <"$work/installed"
cat -- "${installed[@]}" | grep -owFf "$work/defined" | sort -u >"$work/declared"
expect "they declare functions" 1 "$(($(wc -l <"$work/declared") > 60))"
if command -v c++ >/dev/null; then
    { printf '#include "treeattn.h"\nconst void *names[] = {\n'
      sed 's/.*/    (const void *)\&&,/' "$work/declared"
      printf '};\n'; } >"$work/names.cpp"
    c++ -std=c++11 "${flags[@]:1}" -c -o "$work/names.o" "$work/names.cpp" 2>"$work/err"
    expect "C++ compiles their addresses" "0 " "$? $(grep -m 5 error "$work/err")"
    nm -u "$work/names.o" | awk '{ print $NF }' | sort -u >"$work/wanted"
    expect "C++ and the library agree on their names" "$(cat "$work/declared")" \
        "$(grep -v '^_GLOBAL_OFFSET' "$work/wanted")"
else
    skip "names from C++" "no C++ compiler"
fi
finish
