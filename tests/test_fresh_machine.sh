#!/bin/bash
# Claim: a compiler that was missing when the build folder was configured is used by the next make verb after it was
# installed; and a checkout, a prefix and a temporary folder may have blanks, quotes and dollars in their names.
# PATH is a folder of links to this machine's programs, without those that are installed later.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
if [ -n "$(sed -n 's/^TREEATTN_SANITIZE:[A-Z]*=//p' "${TREEATTN_BUILD_DIR:?}/CMakeCache.txt")" ]; then
    skip test_fresh_machine "it builds its own copy, which the tests of a plain build have tried"
    exit 77
fi
if [ "${CI:-false}" = false ]; then
    skip test_fresh_machine "it builds a copy: in CI, or with CI=true"
    exit 77
fi
checkout="$work/it's \$HOME, a \`copy\` (100 % é)"
mkdir -p "$checkout/figures" "$work/bin" "$work/a tmp" || exit 1
cd "$TREEATTN_SOURCE_DIR" || exit 1
cp -r .devcontainer allocator reference model gpu measure tests tools docs explorer python cmake scripts CMakeLists.txt Makefile "$checkout"
cp figures/*.c "$checkout/figures"
cd "$checkout" || exit 1

IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}"; do
    find -L "$folder" -maxdepth 1 -type f -perm -u+x ! -name '*++*' ! -name 'nvcc*' ! -name cc ! -name CC \
        -exec ln -s -t "$work/bin" {} + 2>/dev/null # the first of a name counts
done
cc=$(command -v cc || command -v gcc || command -v clang)
unset CC CXX CUDACXX CUDA_PATH CUDA_HOME CFLAGS CXXFLAGS MAKEFLAGS MFLAGS CMAKE_CXX_COMPILER_LAUNCHER
export PATH=$work/bin CMAKE_BUILD_TYPE=Debug TMPDIR="$work/a tmp"

# install_program NAME BODY: a program of the machine
install_program() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1" && chmod +x "$work/bin/$1"; }
# configure: as each verb does; what CMake says in $work/said
configure() {
    make build/CTestTestfile.cmake >"$work/said" 2>&1
    expect "$1: configured" 0 $?
}
lists_emulated() { find build/cases -name 'test_emulated_machine.include.cmake' | wc -l; }

install_program cc "case \" \$* \" in *openmp*) exit 1 ;; esac; exec '$cc' \"\$@\"" # a clang without libomp
configure "without C++, OpenMP and CUDA"
for missing in 'C[+][+] compiler not found' 'OpenMP not found'; do
    expect_match "says so: $missing" "$missing" "$work/said"
done
expect "no emulated tests" 0 "$(lists_emulated)"

install_program cc "exec '$cc' \"\$@\""
configure "OpenMP is installed"
expect "OpenMP is used" 1 "$(grep -c '^OpenMP_C_FLAGS:.*=-' build/CMakeCache.txt)"

if cxx=$(PATH=/usr/local/bin:/usr/bin:/bin command -v c++ || PATH=/usr/local/bin:/usr/bin:/bin command -v g++); then
    install_program c++ "exec '$cxx' \"\$@\""
    configure "C++ is installed"
    expect "C++ is used: emulated tests" 1 "$(lists_emulated)"
else
    skip "C++ is used" "no C++ compiler"
fi

# A CUDA compiler that compiles nothing, as nvcc without its g++: it is asked again each time.
if [ -x /usr/local/cuda/bin/nvcc ]; then
    skip "CUDA is asked again" "a CUDA compiler where CMake looks without PATH"
else
    install_program nvcc "echo asked >>'$work/asked'; exit 1"
    configure "a CUDA compiler that does not work yet"
    expect_match "says so" 'compiles nothing here' "$work/said"
    asked=$(wc -l <"$work/asked")
    configure "the same, again"
    expect "it is asked again" 1 "$(($(wc -l <"$work/asked") > asked))"
fi

cmake --build build --parallel 2 --target treeattn_program treeattn_shared test_kv_pool_check >"$work/said" 2>&1
expect "builds in this path" 0 $?
[ $failed = 0 ] || cat "$work/said"
ctest --test-dir build --no-tests=error --output-on-failure -R '^(test_kv_pool_check[.]two|test_tool_step|test_setup)' >"$work/said" 2>&1
expect "its tests pass" 0 $?
[ $failed = 0 ] || cat "$work/said"
prefix="$work/it's a \$prefix"
make -o all install PREFIX="${prefix//\$/\$\$}" >"$work/said" 2>&1
expect "installs into a prefix with such a name" 0 $?
expect "the installed program runs" "$(build/treeattn --version)" "$("$prefix/bin/treeattn" --version)"
make build='a b' help >"$work/said" 2>&1
expect_match "a build folder with a blank is refused" 'expected the name of a folder, without blanks' "$work/said"
for character in '"' '#' ';' ':' '|' '<' '[' $'\t'; do
    mkdir "$work/a$character" && cp "$checkout/CMakeLists.txt" "$work/a$character"
    cmake -S "$work/a$character" -B "$work/a$character/build" >"$work/said" 2>&1
    expect_match "refused with a sentence: $character" 'cannot build in a path with' "$work/said"
done
finish
