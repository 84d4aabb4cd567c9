#!/bin/bash
# Claim: the kernels are compiled for the GPUs that the driver lists, and for all architectures where it lists none, or
# one that cannot be served; a list given by the caller wins. nvcc and nvidia-smi are stubs here: no GPU is needed.
# Not sanitized: it runs nothing of the build.
# shellcheck source=tests/tool_checks.sh
. "$(dirname "$0")/tool_checks.sh"
cd "$work" || exit 1
stub() { printf '#!/bin/bash\n%s\n' "$2" >"$1" && chmod +x "$1"; }
nvcc() { # nvcc OFFERED...: a compiler for these architectures
    stub nvcc "case \$1 in --help) echo 'compute_90a' ;; --list-gpu-arch) printf 'compute_%s\n' $* ;; esac"
}
# expect_targets NAME TARGETS OPTION...: what cmake/cuda_architectures.cmake chooses
expect_targets() {
    local name=$1 wanted=$2
    shift 2
    PATH=$work:$PATH cmake "-Dcuda_compiler=$work/nvcc" "$@" -P "$TREEATTN_SOURCE_DIR/cmake/cuda_architectures.cmake" \
        >said 2>&1
    expect "$name" "$wanted" "$(sed -n "s/^targets: //p" said)"
}
all='sm_80;sm_86;sm_89;sm_90a;compute_90'

nvcc 75 80 86 87 89 90 100 120
stub nvidia-smi 'echo "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver"; exit 9'
expect_targets "no driver: all" "$all"
ampere='-gencode=arch=compute_80,code=[sm_80,sm_86,sm_89]'
expect "sm_80, 86 and 89 are compiled once, sm_90 with the PTX" \
    "flags: $ampere;-gencode=arch=compute_90,code=[sm_90,compute_90]" "$(grep '^flags: ' said)"
expect "with code of sm_90: the same" "$(sed -n 's/^flags: //p' said)" "$(sed -n 's/^needs 90: //p' said)"
expect "with warpgroup products: sm_90a" \
    "needs 90a: $ampere;-gencode=arch=compute_90a,code=[sm_90a];-gencode=arch=compute_90,code=[compute_90]" \
    "$(grep '^needs 90a: ' said)"
expect_targets "for warnings: the one with the least room of those with one PTX" 'sm_86;sm_90a;compute_90' \
    -DTREEATTN_CUDA_ARCHITECTURES=warnings
expect "for warnings: one PTX for both" 'flags: -gencode=arch=compute_80,code=[sm_86,sm_90]' "$(grep '^flags: ' said)"
ampere='-gencode=arch=compute_80,code=[sm_86]'
expect "for warnings, with code of sm_90: each its own" \
    "needs 90: $ampere;-gencode=arch=compute_90,code=[sm_90,compute_90]" "$(grep '^needs 90: ' said)"
expect "for warnings, with warpgroup products: sm_90a too" \
    "needs 90a: $ampere;-gencode=arch=compute_90a,code=[sm_90a];-gencode=arch=compute_90,code=[compute_90]" \
    "$(grep '^needs 90a: ' said)"
stub nvidia-smi '[ "$*" = "--query-gpu=compute_cap --format=csv,noheader" ] && echo 9.0'
expect_targets "an H200: its own" sm_90a
for of in flags 'needs 90' 'needs 90a'; do
    expect "$of: one compilation" "$of: -gencode=arch=compute_90a,code=[sm_90a]" "$(grep "^$of: " said)"
done
expect_targets "an H200, all wanted" "$all" -DTREEATTN_CUDA_ARCHITECTURES=all
expect_targets "an H200, a list wins" "80-real;90a-real;90-virtual" "-DCMAKE_CUDA_ARCHITECTURES=80-real;90"
expect "then CMake makes the flags" 'flags: ' "$(grep '^flags' said)"
stub nvidia-smi 'printf "8.6\n9.0\n8.6\n"'
expect_targets "GPUs of two kinds" 'sm_86;sm_90a'
stub nvidia-smi 'echo 12.0'
expect_targets "a newer GPU that nvcc knows" sm_120
for unknown in 13.0 7.5; do
    stub nvidia-smi "printf '9.0\n$unknown\n'"
    expect_targets "a GPU that cannot be served, $unknown: all" "$all"
    expect_match "and it is said" "sm_${unknown/./}, which the kernels or" said
done
stub nvidia-smi 'echo "Field \"compute_cap\" is not a valid field to query."; exit 2'
expect_targets "a driver too old to be asked: all" "$all"
stub nvidia-smi 'echo "[N/A]"'
expect_targets "no answer: all" "$all"
nvcc 70 75 80 86
expect_targets "an older nvcc: what it offers" 'sm_80;sm_86;compute_86'
nvcc 70 75
expect_targets "an nvcc that offers none" ''
for refused in all 75 '90;70-real'; do
    expect_targets "refused: $refused" '' "-DCMAKE_CUDA_ARCHITECTURES=$refused"
    expect_match "with a sentence" 'the kernels need sm_80' said
done
expect_targets "a word that does not exist" '' -DTREEATTN_CUDA_ARCHITECTURES=everything
expect_match "with a sentence: everything" 'not native, all or warnings' said
finish
