# Which tests exist. Included twice: by CMakeLists.txt, and as a script (cmake -P) after a test program is built, to
# write the CTest cases that `PROGRAM --list` names.
if(CMAKE_SCRIPT_MODE_FILE)
  execute_process(COMMAND ${PROGRAM} --list OUTPUT_VARIABLE names RESULT_VARIABLE status)
  if(NOT status EQUAL 0 OR names STREQUAL "")
    message(FATAL_ERROR "${PROGRAM} --list: status ${status}, no case listed: '${names}'")
  endif()
  string(REGEX REPLACE "\n$" "" names "${names}")
  string(REPLACE "\n" ";" names "${names}")
  set(unique ${names})
  list(REMOVE_DUPLICATES unique)
  if(NOT unique STREQUAL names)
    message(FATAL_ERROR "${PROGRAM} --list names a case twice: ${names}")
  endif()
  get_filename_component(stem ${PROGRAM} NAME)
  set(text "")
  set(environment "OMP_WAIT_POLICY=passive") # two programs at a time share the cores
  if(LABEL STREQUAL "gpu")
    string(APPEND environment ";ASAN_OPTIONS=protect_shadow_gap=0") # CUDA maps memory there
  endif()
  foreach(name ${names})
    string(APPEND text "add_test([=[${stem}.${name}]=] [=[${PROGRAM}]=] [=[${name}]=])\n"
      "set_tests_properties([=[${stem}.${name}]=] PROPERTIES "
      "SKIP_RETURN_CODE 77 TIMEOUT ${TIMEOUT} LABELS ${LABEL} ENVIRONMENT [=[${environment}]=] "
      "WORKING_DIRECTORY [=[${DIRECTORY}]=])\n")
  endforeach()
  file(WRITE ${OUT} "${text}")
  return()
endif()

set(treeattn_test_timeout 60)
if(TREEATTN_SANITIZE OR TREEATTN_COVERAGE)
  set(treeattn_test_timeout 300)
endif()

# An executable of the tests folder; LABEL given: its cases become CTest cases.
function(treeattn_test_program source)
  cmake_parse_arguments(PARSE_ARGV 1 test "" "LABEL" "LIBRARIES")
  get_filename_component(stem ${source} NAME_WE)
  add_executable(${stem} ${source})
  target_link_libraries(${stem} PRIVATE test_support ${test_LIBRARIES})
  if(stem MATCHES "_oom$")
    target_link_options(${stem} PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
  endif()
  if(NOT test_LABEL)
    return()
  endif()
  set(cases ${CMAKE_BINARY_DIR}/cases/${stem}.cmake)
  add_custom_command(TARGET ${stem} POST_BUILD COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${stem}>
    -DOUT=${cases} -DLABEL=${test_LABEL} -DTIMEOUT=${treeattn_test_timeout} -DDIRECTORY=${CMAKE_SOURCE_DIR}
    -P ${CMAKE_SOURCE_DIR}/tests/tests.cmake VERBATIM)
  # A program that did not build is a failing test, not a missing one.
  file(WRITE ${CMAKE_BINARY_DIR}/cases/${stem}.include.cmake
    "if(EXISTS [=[${cases}]=])\n  include([=[${cases}]=])\nelse()\n  add_test(${stem}.NOT_BUILT ${stem})\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_BINARY_DIR}/cases/${stem}.include.cmake)
endfunction()

function(treeattn_tests)
  file(GLOB support CONFIGURE_DEPENDS tests/test.c tests/cases.c tests/compare.c tests/*_model.c tests/*_trees.c)
  list(FILTER support EXCLUDE REGEX "/(test|fuzz|soak|exhaustive)_[^/]*\\.c$")
  file(GLOB programs CONFIGURE_DEPENDS tests/test_*.c)
  file(GLOB gpu_programs CONFIGURE_DEPENDS tests/test_gpu_*.c tests/test_gpu_*.cu)
  file(GLOB long_programs CONFIGURE_DEPENDS tests/soak_*.c tests/exhaustive_*.c tests/fuzz_*.c)
  file(GLOB scripts CONFIGURE_DEPENDS tests/test_*.sh)

  add_library(test_support STATIC ${support})
  target_include_directories(test_support PUBLIC tests)
  target_compile_definitions(test_support PUBLIC TREEATTN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(test_support PUBLIC treeattn)

  foreach(source ${programs})
    if(NOT source IN_LIST gpu_programs)
      treeattn_test_program(${source} LABEL cpu)
    endif()
  endforeach()
  foreach(source ${long_programs})
    treeattn_test_program(${source})
    get_filename_component(stem ${source} NAME_WE)
    string(REGEX REPLACE "_.*" "" kind ${stem}) # make soak, exhaustive and fuzz build these targets
    if(NOT TARGET ${kind})
      add_custom_target(${kind})
    endif()
    add_dependencies(${kind} ${stem})
  endforeach()
  foreach(source ${gpu_programs})
    get_filename_component(stem ${source} NAME_WE)
    if(TARGET treeattn_gpu)
      treeattn_test_program(${source} LABEL gpu LIBRARIES treeattn_gpu)
    else()
      add_test(NAME ${stem} COMMAND sh -c
        "echo 'skip ${stem} no CUDA compiler'; [ \"\${REQUIRE_GPU:-0}\" = 0 ] && exit 77 || exit 1")
      set_tests_properties(${stem} PROPERTIES SKIP_RETURN_CODE 77 LABELS gpu)
    endif()
  endforeach()
  foreach(script ${scripts})
    get_filename_component(stem ${script} NAME_WE)
    add_test(NAME ${stem} COMMAND bash ${script})
    set_tests_properties(${stem} PROPERTIES SKIP_RETURN_CODE 77 LABELS cpu TIMEOUT 300 ENVIRONMENT
      "TREEATTN_SOURCE_DIR=${CMAKE_SOURCE_DIR};TREEATTN_BUILD_DIR=${CMAKE_BINARY_DIR};TREEATTN_BIN=${CMAKE_BINARY_DIR}/treeattn")
  endforeach()
endfunction()
