# The architectures for which ${cuda_compiler} compiles the kernels: ${cuda_targets}, and nvcc's flags for them:
# ${cuda_90a_flags} for a file with code of sm_90a alone (warpgroup products), ${cuda_90_flags} for one with code of
# sm_90 and newer, ${cuda_80_flags} for any other.
# CMAKE_CUDA_ARCHITECTURES wins over TREEATTN_CUDA_ARCHITECTURES; then CMake makes the flags.
set(TREEATTN_CUDA_ARCHITECTURES native CACHE STRING
  "native: the GPUs of this machine, all if it has none; all: what an installed library needs; warnings: what CI needs")
set_property(CACHE TREEATTN_CUDA_ARCHITECTURES PROPERTY STRINGS native all warnings)
if(NOT TREEATTN_CUDA_ARCHITECTURES MATCHES "^(native|all|warnings)$")
  message(FATAL_ERROR "TREEATTN_CUDA_ARCHITECTURES is ${TREEATTN_CUDA_ARCHITECTURES}: not native, all or warnings; "
    "CMAKE_CUDA_ARCHITECTURES takes a list")
endif()

# cp.async and the bf16 matrix instruction came with sm_80.
foreach(arch ${CMAKE_CUDA_ARCHITECTURES})
  if(arch MATCHES "^(all|all-major)$" OR (arch MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS 80))
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES names ${arch}: the kernels need sm_80 or newer, sm_75 and older "
      "are refused")
  endif()
endforeach()

# The compute capabilities of this machine's GPUs, as the driver lists them ("9.0" is 90). An empty list: no GPU, no
# driver, or a GPU that the kernels or this nvcc do not know.
function(treeattn_find_gpus offered result)
  set(found "")
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE answer RESULT_VARIABLE status ERROR_QUIET TIMEOUT 30)
  if(status EQUAL 0)
    string(REGEX MATCHALL "[0-9]+[.][0-9]+" found "${answer}")
    list(TRANSFORM found REPLACE "[.]" "")
    list(REMOVE_DUPLICATES found)
  endif()
  foreach(arch ${found})
    if(arch LESS 80 OR NOT offered MATCHES "compute_${arch}\n")
      message(NOTICE "A GPU here is sm_${arch}, which the kernels or ${cuda_compiler} do not support: "
        "compiled for all architectures")
      set(found "")
    endif()
  endforeach()
  set(${result} ${found} PARENT_SCOPE)
endfunction()

# treeattn_compile_for(FLAGS VIRTUAL REAL...): the code of each REAL, from one compilation for compute_VIRTUAL.
function(treeattn_compile_for flags virtual)
  list(JOIN ARGN "," real)
  set(${flags} ${${flags}} "-gencode=arch=compute_${virtual},code=[${real}]" PARENT_SCOPE)
endfunction()

# Warpgroup products are in sm_90a alone; its kernels run where those of sm_90 do.
execute_process(COMMAND ${cuda_compiler} --help OUTPUT_VARIABLE help ERROR_QUIET)
set(hopper 90)
if(help MATCHES "compute_90a")
  set(hopper 90a)
endif()
if(CMAKE_CUDA_ARCHITECTURES)
  if(hopper STREQUAL 90a)
    list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90-real$" "90a-real")
    list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90$" "90a-real;90-virtual")
  endif()
  set(cuda_targets ${CMAKE_CUDA_ARCHITECTURES})
else()
  execute_process(COMMAND ${cuda_compiler} --list-gpu-arch OUTPUT_VARIABLE offered ERROR_QUIET)
  if(TREEATTN_CUDA_ARCHITECTURES STREQUAL native)
    treeattn_find_gpus("${offered}" gpus)
  endif()
  if(gpus)
    foreach(arch ${gpus})
      string(REGEX REPLACE "^90$" "${hopper}" arch ${arch})
      treeattn_compile_for(cuda_90_flags ${arch} sm_${arch})
      list(APPEND cuda_targets sm_${arch})
    endforeach()
    set(cuda_90a_flags ${cuda_90_flags})
    set(cuda_80_flags ${cuda_90_flags})
  else()
    # Of the architectures that the kernels are written for, those that this nvcc offers; the last one also as PTX for
    # later GPUs. sm_80, 86 and 89 share their PTX: no kernel distinguishes them, and most of the time goes there.
    # Without warpgroup products nvcc makes the same code for sm_90 and sm_90a: sm_90 then shares the PTX for later GPUs.
    foreach(arch 80 86 89)
      if(offered MATCHES "compute_${arch}\n")
        list(APPEND ampere sm_${arch})
        set(newest ${arch})
      endif()
    endforeach()
    set(one_ptx OFF)
    if(TREEATTN_CUDA_ARCHITECTURES STREQUAL warnings AND "${ampere}" MATCHES "sm_86")
      set(one_ptx ON)
      set(ampere sm_86) # sm_80 has more shared memory and threads; sm_89 has as many
    endif()
    if(ampere)
      list(APPEND cuda_targets ${ampere})
      treeattn_compile_for(cuda_90_flags 80 ${ampere})
    endif()
    set(cuda_90a_flags ${cuda_90_flags})
    set(cuda_80_flags "")
    if(offered MATCHES "compute_90\n")
      list(APPEND cuda_targets sm_${hopper} compute_90)
      treeattn_compile_for(cuda_90_flags 90 sm_90 compute_90)
      treeattn_compile_for(cuda_90a_flags ${hopper} sm_${hopper})
      treeattn_compile_for(cuda_90a_flags 90 compute_90)
      if(one_ptx) # no kernel runs: the same PTX, assembled for both
        treeattn_compile_for(cuda_80_flags 80 sm_86 sm_90)
      endif()
    elseif(newest)
      list(APPEND cuda_targets compute_${newest})
      treeattn_compile_for(cuda_90_flags ${newest} compute_${newest})
      set(cuda_90a_flags ${cuda_90_flags})
    endif()
    if(NOT cuda_80_flags)
      set(cuda_80_flags ${cuda_90_flags})
    endif()
  endif()
endif()
if(CMAKE_SCRIPT_MODE_FILE) # tests/test_cuda_architectures.sh
  message(NOTICE "targets: ${cuda_targets}\nflags: ${cuda_80_flags}\nneeds 90: ${cuda_90_flags}\nneeds 90a: ${cuda_90a_flags}")
endif()
