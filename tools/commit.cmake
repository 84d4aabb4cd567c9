# Writes TREEATTN_COMMIT into the header OUT at every build: the commit of SOURCE, "-modified" if the code differs from
# it, "unknown" outside a clone. Recorded csv do not count as code: a measurement may write one before the next.
execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status ERROR_QUIET)
if(NOT status EQUAL 0)
  set(commit unknown)
else()
  execute_process(COMMAND git -C ${SOURCE} diff --quiet HEAD -- allocator reference gpu tools figures/*.c figures/*.cu
    RESULT_VARIABLE modified ERROR_QUIET)
  if(modified)
    string(APPEND commit -modified)
  endif()
endif()
set(text "#define TREEATTN_COMMIT \"${commit}\"\n")
set(old "")
if(EXISTS ${OUT})
  file(READ ${OUT} old)
endif()
if(NOT text STREQUAL old)
  file(WRITE ${OUT} "${text}")
endif()
