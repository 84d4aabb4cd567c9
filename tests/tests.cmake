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
  string(REGEX REPLACE "^test_emulated" "emulated" stem ${stem})
  set(text "")
  set(environment "OMP_WAIT_POLICY=passive") # two programs at a time share the cores
  if(WHOLE)
    set(names "")
    string(APPEND text "add_test([=[${stem}]=] [=[${PROGRAM}]=])\n"
      "set_tests_properties([=[${stem}]=] PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT ${TIMEOUT} LABELS ${LABEL} COST 50 "
      "ENVIRONMENT [=[${environment}]=] WORKING_DIRECTORY [=[${DIRECTORY}]=])\n")
  endif()
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
  if(stem STREQUAL "test_emulated_plan_oom")
    target_link_options(${stem} PRIVATE -Wl,--wrap=posix_memalign)
  endif()
  if(stem MATCHES "_growth$")
    target_link_libraries(${stem} PRIVATE treeattn_counted) # objects: they come before those of libtreeattn
  endif()
  if(NOT test_LABEL)
    return()
  endif()
  # Under sanitizers a process takes as long to start as most cases take to run: there a program runs all of its cases,
  # which scripts/run_tests.sh counts; in the plain build, each alone. The emulated ones are long, for two to share.
  set(whole OFF)
  if(TREEATTN_SANITIZE AND test_LABEL STREQUAL "cpu")
    set(whole ON)
  endif()
  set(cases ${CMAKE_BINARY_DIR}/cases/${stem}.cmake)
  add_custom_command(TARGET ${stem} POST_BUILD COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:${stem}>
    -DOUT=${cases} -DWHOLE=${whole} -DLABEL=${test_LABEL} -DTIMEOUT=${treeattn_test_timeout} -DDIRECTORY=${CMAKE_SOURCE_DIR}
    -P ${CMAKE_SOURCE_DIR}/tests/tests.cmake VERBATIM)
  # A program that did not build is a failing test, not a missing one.
  file(WRITE ${CMAKE_BINARY_DIR}/cases/${stem}.include.cmake
    "if(EXISTS [=[${cases}]=])\n  include([=[${cases}]=])\nelse()\n  add_test(${stem}.NOT_BUILT ${stem})\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_BINARY_DIR}/cases/${stem}.include.cmake)
endfunction()

function(treeattn_tests)
  file(GLOB support CONFIGURE_DEPENDS tests/test.c tests/amx_emulator.c tests/*cases.c tests/compare.c tests/step_count.c tests/*_model.c
    tests/*_trees.c)
  list(FILTER support EXCLUDE REGEX "/(test|fuzz|soak|exhaustive)_[^/]*\\.c$")
  file(GLOB programs CONFIGURE_DEPENDS tests/test_*.c)
  file(GLOB emulated_programs CONFIGURE_DEPENDS tests/test_emulated*.c tests/test_emulated*.cpp)
  file(GLOB gpu_programs CONFIGURE_DEPENDS tests/test_gpu_*.c tests/test_gpu_*.cu)
  file(GLOB long_programs CONFIGURE_DEPENDS tests/soak_*.c tests/exhaustive_*.c tests/fuzz_*.c)
  file(GLOB scripts CONFIGURE_DEPENDS tests/test_*.sh)

  # The queue is the GPU's, but plain C: its test needs no GPU. The oracle and the error of
  # a policy serve tests and programs.
  add_library(test_support STATIC ${support} gpu/plan_deal.c gpu/plan_queue.c measure/oracle.c measure/stream_error.c)
  target_include_directories(test_support PUBLIC tests gpu measure)
  target_compile_definitions(test_support PUBLIC TREEATTN_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(test_support PUBLIC treeattn_model treeattn)
  # What the machine has, as tests/amx_emulator.c tells it; -u links that object before the library needs it.
  target_link_options(test_support INTERFACE -Wl,--wrap=cpu_machine_features,-u,__wrap_cpu_machine_features)

  # The library and the queue once more, with their steps counted: tests/step_count.h.
  set(counted_sources ${library_sources} ${CMAKE_SOURCE_DIR}/gpu/plan_deal.c ${CMAKE_SOURCE_DIR}/gpu/plan_queue.c)
  list(FILTER counted_sources EXCLUDE REGEX "/tree_attention[^/]*\\.c$")
  add_library(treeattn_counted OBJECT EXCLUDE_FROM_ALL ${counted_sources})
  target_include_directories(treeattn_counted PRIVATE $<TARGET_PROPERTY:treeattn,INCLUDE_DIRECTORIES>)
  target_compile_options(treeattn_counted PRIVATE -fsanitize-coverage=trace-pc)

  foreach(source ${programs})
    if(NOT source IN_LIST gpu_programs AND NOT source IN_LIST emulated_programs)
      treeattn_test_program(${source} LABEL cpu)
    endif()
  endforeach()
  foreach(source ${long_programs})
    get_filename_component(stem ${source} NAME_WE)
    if(stem MATCHES "_emulated_")
      if(NOT TARGET treeattn_emulated)
        continue()
      endif()
      treeattn_test_program(${source} LIBRARIES test_emulated_support)
    else()
      treeattn_test_program(${source})
    endif()
    string(REGEX REPLACE "_.*" "" kind ${stem}) # make soak, exhaustive and fuzz build these targets
    if(NOT TARGET ${kind})
      add_custom_target(${kind})
    endif()
    add_dependencies(${kind} ${stem})
  endforeach()
  if(TARGET treeattn_gpu)
    add_library(test_gpu_support STATIC tests/gpu_support.c tests/eviction_support.c)
    target_link_libraries(test_gpu_support PUBLIC test_support treeattn_gpu)
  endif()
  foreach(source ${gpu_programs})
    get_filename_component(stem ${source} NAME_WE)
    if(stem MATCHES "_transformer$" AND TARGET treeattn_model_gpu)
      treeattn_test_program(${source} LABEL gpu LIBRARIES test_gpu_support treeattn_model_gpu)
    elseif(NOT stem MATCHES "_transformer$" AND TARGET treeattn_gpu)
      treeattn_test_program(${source} LABEL gpu LIBRARIES test_gpu_support)
    else()
      add_test(NAME ${stem} COMMAND sh -c
        "echo 'skip ${stem} no CUDA compiler, or no cuBLAS'; [ \"\${REQUIRE_GPU:-0}\" = 0 ] && exit 77 || exit 1")
      set_tests_properties(${stem} PROPERTIES SKIP_RETURN_CODE 77 LABELS gpu)
    endif()
  endforeach()
  if(TARGET treeattn_emulated)
    add_library(test_emulated_support STATIC tests/gpu_support.c tests/eviction_support.c)
    target_include_directories(test_emulated_support PUBLIC gpu/device)
    target_link_libraries(test_emulated_support PUBLIC test_support treeattn_emulated)
  endif()
  foreach(source ${emulated_programs})
    get_filename_component(stem ${source} NAME_WE)
    if(stem MATCHES "_transformer$" AND TARGET treeattn_model_emulated)
      treeattn_test_program(${source} LABEL emulated LIBRARIES test_emulated_support treeattn_model_emulated)
    elseif(TARGET treeattn_emulated)
      treeattn_test_program(${source} LABEL emulated LIBRARIES test_emulated_support)
    else()
      string(REGEX REPLACE "^test_" "" stem ${stem})
      add_test(NAME ${stem} COMMAND sh -c "echo 'skip ${stem} no C++ compiler'; exit 77")
      set_tests_properties(${stem} PROPERTIES SKIP_RETURN_CODE 77 LABELS emulated)
    endif()
  endforeach()
  foreach(script ${scripts})
    get_filename_component(stem ${script} NAME_WE)
    file(STRINGS ${script} uses_build REGEX "TREEATTN_BUILD_DIR|TREEATTN_BIN|tool_checks")
    file(STRINGS ${script} plain REGEX "^# Not sanitized: ")
    if(TREEATTN_SANITIZE AND (plain OR NOT uses_build))
      continue() # it runs nothing that is sanitized: the plain build tries it
    endif()
    add_test(NAME ${stem} COMMAND bash ${script})
    # The longest tests are scripts: they start first, so that none is left alone at the end.
    set_tests_properties(${stem} PROPERTIES SKIP_RETURN_CODE 77 LABELS cpu TIMEOUT 300 COST 100 ENVIRONMENT
      "OMP_WAIT_POLICY=passive;TREEATTN_SOURCE_DIR=${CMAKE_SOURCE_DIR};TREEATTN_BUILD_DIR=${CMAKE_BINARY_DIR};TREEATTN_BIN=${CMAKE_BINARY_DIR}/treeattn")
  endforeach()
endfunction()
