#!/bin/bash
# Claim: a ten-line program finds the installed library by pkg-config and by CMake's find_package, and runs; so does
# docs/examples/gpu_step.c and decode_loop.cu with the GPU library, where there is a CUDA toolkit. They run where there
# is a GPU.
set -eu
read_cache() { sed -n "s/^$1:[A-Z]*=//p" "$TREEATTN_BUILD_DIR/CMakeCache.txt"; }
if [ -n "$(read_cache TREEATTN_SANITIZE)" ] || [ "$(read_cache TREEATTN_COVERAGE)" = ON ]; then
    echo "skip test_install an instrumented library wants its flags in every program"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$TREEATTN_BUILD_DIR" --prefix "$work/prefix" >"$work/log" || { cat "$work/log"; exit 1; }
cc=$(read_cache CMAKE_C_COMPILER)
mkdir "$work/consumer"
cd "$work/consumer"
cat >consumer.c <<'END'
#include <kv_branch.h>
#include <stdio.h>

int main(void)
{
    kv_pool *pool;
    kv_pool_config config = {.num_blocks = 8, .block_tokens = 4};
    kv_branch parent, child;
    kv_append append;
    if (kv_pool_create(&pool, &config) || kv_branch_create(pool, &parent)) return 1;
    if (kv_branch_append(pool, parent, 10, &append) || kv_branch_fork(pool, parent, &child)) return 2;
    if (kv_branch_append(pool, child, 1, &append)) return 3;
    printf("copy %u -> %u, %u tokens\n", append.copy.from_block, append.copy.to_block, append.copy.num_tokens);
    return kv_pool_destroy(pool, true, NULL);
}
END
cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.18)
project(consumer C)
find_package(Treeattn 0.1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer Treeattn::treeattn)
END
passed=0
expect_run() { # expect_run HOW PROGRAM
    local output
    output=$("$2") || { echo "FAIL $1: the consumer ended with status $?"; exit 1; }
    [ "$output" = "copy 2 -> 3, 2 tokens" ] || { echo "FAIL $1: it printed '$output'"; exit 1; }
    echo "pass $1"
    passed=$((passed + 1))
}

if command -v pkg-config >/dev/null; then
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name treeattn.pc)")
    export PKG_CONFIG_PATH
    # shellcheck disable=SC2046 # words of flags
    "$cc" -std=c11 -o by_pkg_config consumer.c $(pkg-config --cflags --libs treeattn)
    expect_run pkg-config ./by_pkg_config
else
    echo "skip pkg-config no pkg-config"
fi
cmake -S . -B build "-DCMAKE_PREFIX_PATH=$work/prefix" "-DCMAKE_C_COMPILER=$cc" >log 2>&1 || { cat log; exit 1; }
cmake --build build >log 2>&1 || { cat log; exit 1; }
expect_run find_package ./build/consumer

# The GPU library. The example itself says whether it found a GPU: status 77 and one line if not.
expect_gpu() { # expect_gpu HOW PROGRAM
    local status=0
    "$2" >log 2>&1 || status=$?
    if [ $status = 77 ] && [ "${REQUIRE_GPU:-0}" = 0 ]; then
        echo "pass $1: compiled and linked"
        echo "skip $1_runs $(cat log)"
    elif [ $status = 0 ] && grep -q 'out as on the CPU$' log; then
        echo "pass $1: runs"
    else
        cat log
        echo "FAIL $1: status $status"
        exit 1
    fi
}
example=$TREEATTN_SOURCE_DIR/docs/examples/gpu_step.c
if grep -q libtreeattn_gpu "$TREEATTN_BUILD_DIR/cmake_install.cmake"; then
    for header in tree_attention_gpu kv_gpu standard_attention_gpu; do
        [ -f "$work/prefix/include/treeattn/$header.h" ] || { echo "FAIL $header.h is not installed"; exit 1; }
    done
    if command -v pkg-config >/dev/null; then
        # shellcheck disable=SC2046 # words of flags
        "$cc" -std=c11 -o gpu_by_pkg_config "$example" $(pkg-config --cflags --libs treeattn_gpu)
        expect_gpu gpu_pkg-config ./gpu_by_pkg_config
        # shellcheck disable=SC2046 # words of flags
        "$(read_cache CMAKE_CUDA_COMPILER)" -std=c++17 -c -o decode_loop.o "${example%/*}/decode_loop.cu" \
            $(pkg-config --cflags treeattn_gpu)
        # shellcheck disable=SC2046 # words of flags
        "$(read_cache CMAKE_CXX_COMPILER)" -o decode_loop decode_loop.o $(pkg-config --libs treeattn_gpu)
        expect_gpu gpu_decode_loop ./decode_loop
    else
        echo "skip gpu_pkg-config no pkg-config"
    fi
    mkdir gpu
    cp "$example" gpu
    cat >gpu/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.18)
project(gpu_step C)
find_package(Treeattn 0.1 REQUIRED COMPONENTS gpu)
add_executable(gpu_step gpu_step.c)
target_link_libraries(gpu_step Treeattn::treeattn_gpu)
END
    cmake -S gpu -B gpu/build "-DCMAKE_PREFIX_PATH=$work/prefix" "-DCMAKE_C_COMPILER=$cc" >log 2>&1 ||
        { cat log; exit 1; }
    cmake --build gpu/build >log 2>&1 || { cat log; exit 1; }
    expect_gpu gpu_find_package gpu/build/gpu_step
else
    echo "skip gpu_library no CUDA compiler"
    sed 's/0.1 REQUIRED/& COMPONENTS gpu/' CMakeLists.txt >without && mkdir without_gpu && mv without without_gpu/CMakeLists.txt
    cp consumer.c without_gpu
    if cmake -S without_gpu -B without_gpu/build "-DCMAKE_PREFIX_PATH=$work/prefix" "-DCMAKE_C_COMPILER=$cc" >log 2>&1; then
        echo "FAIL the component gpu is found and was not installed"
        exit 1
    fi
    grep -q 'gpu' log || { cat log; echo "FAIL CMake does not say that the component gpu is missing"; exit 1; }
    echo "pass without the GPU library, its component is refused"
fi

package=$(dirname "$(dirname "$(find "$work/prefix" -path '*/treeattn/__init__.py')")")
while read -r python; do
    "$python" -c 'import numpy' 2>/dev/null </dev/null || continue
    output=$(env -u TREEATTN_LIB PYTHONDONTWRITEBYTECODE=1 "PYTHONPATH=$package" "$python" -c '
import treeattn as ta
pool = ta.Pool(8, 4)
parent = pool.branch()
parent.append(10)
copy = parent.fork().append(1).copy
print(f"copy {copy.from_block} -> {copy.to_block}, {copy.num_tokens} tokens")' </dev/null 2>&1) || true
    [ "$output" = "copy 2 -> 3, 2 tokens" ] || { echo "FAIL python: it printed '$output'"; exit 1; }
    echo "pass python"
    numpy=found
    break
done < <(type -aP python3)
[ -n "${numpy-}" ] || echo "skip python no python3 with NumPy"

"$work/prefix/bin/treeattn" --version | grep -q '^treeattn [0-9]' || { echo "FAIL treeattn --version"; exit 1; }
echo "pass installed program"
"$work/prefix/bin/treeattn" --man | cmp - "$work/prefix/share/man/man1/treeattn.1"
"$work/prefix/bin/treeattn" --completion bash | cmp - "$work/prefix/share/bash-completion/completions/treeattn"
echo "pass installed manual page and completion"
for header in "$work"/prefix/include/treeattn/*.h; do # tests/test_headers.sh tries the other languages
    case $header in *_gpu.h) continue ;; esac # they need CUDA's headers
    printf '#include <%s>\n' "${header##*/}" >header.c
    "$cc" -std=c11 -Wall -Werror -fsyntax-only "-I$work/prefix/include/treeattn" header.c
done
echo "pass every header needs no other than the installed ones"
[ $passed -gt 0 ]
