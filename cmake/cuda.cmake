# CUDA, optional and found by itself: the library treeattn_gpu, if there is GPU code and a compiler that works.
# Looked up in this order: CUDACXX, CUDA_PATH, CUDA_HOME, PATH, /usr/local/cuda.
file(GLOB gpu_sources CONFIGURE_DEPENDS gpu/*.cu gpu/ladder/*.cu gpu/*.c)
find_program(TREEATTN_NVCC NAMES $ENV{CUDACXX} nvcc HINTS $ENV{CUDA_PATH}/bin $ENV{CUDA_HOME}/bin
  PATHS /usr/local/cuda/bin DOC "CUDA compiler")
set(cuda_compiler "")
if(TREEATTN_NVCC)
  set(cuda_compiler ${TREEATTN_NVCC})
endif()
if(NOT gpu_sources)
  return()
endif()
if(NOT cuda_compiler)
  message(NOTICE "CUDA compiler not found: CPU build only, GPU tests are skipped")
  return()
endif()

# cp.async and the bf16 matrix instruction came with sm_80.
foreach(arch ${CMAKE_CUDA_ARCHITECTURES})
  if(arch MATCHES "^(all|all-major)$" OR (arch MATCHES "^([0-9]+)" AND CMAKE_MATCH_1 LESS 80))
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES names ${arch}: the kernels need sm_80 or newer, sm_75 and older "
      "are refused")
  endif()
endforeach()

include(CheckLanguage)
set(ENV{CUDACXX} ${cuda_compiler})
if(CMAKE_CUDA_COMPILER MATCHES "NOTFOUND$")
  unset(CMAKE_CUDA_COMPILER CACHE) # look again: nvcc's g++ may have been installed since
endif()
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  message(NOTICE "${cuda_compiler} compiles nothing here (does it find its g++? CUDAHOSTCXX names one): CPU build only")
  return()
endif()

# Of the architectures that the kernels are written for, those that this nvcc offers; the last one also as PTX for what
# comes later.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  execute_process(COMMAND ${cuda_compiler} --list-gpu-arch OUTPUT_VARIABLE offered ERROR_QUIET)
  foreach(arch 80 86 89 90)
    if(offered MATCHES "compute_${arch}\n")
      list(APPEND architectures ${arch}-real)
      set(newest ${arch})
    endif()
  endforeach()
  if(NOT newest)
    message(NOTICE "${cuda_compiler} offers none of sm_80, 86, 89, 90: CPU build only")
    return()
  endif()
  set(CMAKE_CUDA_ARCHITECTURES ${architectures} ${newest}-virtual CACHE STRING "")
endif()

# Warpgroup products are in sm_90a alone; its kernels run where those of sm_90 do.
execute_process(COMMAND ${cuda_compiler} --help OUTPUT_VARIABLE help ERROR_QUIET)
if(help MATCHES "compute_90a")
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90-real$" "90a-real")
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90$" "90a-real;90-virtual")
endif()
set(CMAKE_CUDA_STANDARD 17)
enable_language(CUDA)
add_library(treeattn_gpu STATIC ${gpu_sources})
target_include_directories(treeattn_gpu PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/gpu>
  PRIVATE gpu/ladder gpu/device gpu/worker)
target_include_directories(treeattn_gpu SYSTEM PUBLIC ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
if(CMAKE_CUDA_ARCHITECTURES MATCHES "90a") # a list that may also say 90a alone
  target_compile_definitions(treeattn_gpu PRIVATE TREEATTN_SM_90A)
endif()
target_compile_options(treeattn_gpu PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra;--threads;0>")
target_link_libraries(treeattn_gpu PUBLIC treeattn)
message(NOTICE "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
