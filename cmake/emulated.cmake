# The GPU code once more, for the host (gpu/emulate/emulate.h): the library treeattn_emulated, if there is a C++
# compiler.
include(CheckLanguage)
if(CMAKE_CXX_COMPILER MATCHES "NOTFOUND$")
  unset(CMAKE_CXX_COMPILER CACHE) # look again: it may have been installed since
endif()
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  message(NOTICE "C++ compiler not found: the kernels are not emulated, tests of that are skipped")
  return()
endif()
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
enable_language(CXX)

# A C++ file for each .cu file, with emulate.h included first, as nvcc includes CUDA's header.
file(GLOB emulated_sources CONFIGURE_DEPENDS gpu/*.cu gpu/ladder/*.cu gpu/eviction/*.cu gpu/worker/*.cu)
file(GLOB emulated_c_sources CONFIGURE_DEPENDS gpu/*.c)
foreach(source ${emulated_sources})
  get_filename_component(stem ${source} NAME_WE)
  set(wrapper ${CMAKE_BINARY_DIR}/emulated/${stem}.cpp)
  file(GENERATE OUTPUT ${wrapper} CONTENT "#include \"emulate.h\"\n#include \"${source}\"\n")
  list(APPEND emulated_wrappers ${wrapper})
endforeach()
# The scheduler of the fibers and the matrix products run all the time.
set_property(SOURCE gpu/emulate/emulate.cpp PROPERTY COMPILE_OPTIONS $<$<NOT:$<CONFIG:Debug>>:-O2>)
add_library(treeattn_emulated STATIC gpu/emulate/emulate.cpp ${emulated_wrappers} ${emulated_c_sources})
target_compile_definitions(treeattn_emulated PUBLIC TREEATTN_EMULATE)
target_include_directories(treeattn_emulated PUBLIC gpu/emulate gpu PRIVATE gpu/ladder gpu/eviction gpu/device gpu/worker)
# Kernels read memory as whatever type suits them.
target_compile_options(treeattn_emulated PUBLIC
  $<$<COMPILE_LANGUAGE:CXX>:-fno-strict-aliasing> $<$<COMPILE_LANGUAGE:CXX>:-Wno-unknown-pragmas>)
target_link_libraries(treeattn_emulated PUBLIC treeattn)
