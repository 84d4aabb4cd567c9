# A trained transformer over the library: model/. Not installed; it includes public headers alone.
file(GLOB model_sources CONFIGURE_DEPENDS model/*.c)
list(FILTER model_sources EXCLUDE REGEX "/decoder_gpu_load[.]c$") # of the program
add_library(treeattn_model STATIC ${model_sources})
target_include_directories(treeattn_model PUBLIC model)
target_link_libraries(treeattn_model PUBLIC treeattn)
set_property(SOURCE model/product.c PROPERTY COMPILE_OPTIONS $<$<NOT:$<CONFIG:Debug>>:${fast_optimization}>)

# The trained weights: beside the program as built, and installed.
file(CREATE_LINK ${CMAKE_SOURCE_DIR}/model/reasoner.weights ${CMAKE_BINARY_DIR}/reasoner.weights SYMBOLIC)
install(FILES model/reasoner.weights DESTINATION ${CMAKE_INSTALL_DATADIR}/treeattn OPTIONAL)
file(RELATIVE_PATH weights_from_program /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_DATADIR}/treeattn/reasoner.weights)

# Products by OpenBLAS, if it is there; otherwise by plain loops alone.
option(TREEATTN_BLAS "Let model/ multiply by OpenBLAS where it is installed" ON)
if(TREEATTN_BLAS)
  set(BLA_VENDOR OpenBLAS)
  find_package(BLAS QUIET)
  find_path(TREEATTN_CBLAS_H cblas.h PATH_SUFFIXES openblas)
  mark_as_advanced(TREEATTN_CBLAS_H)
endif()
if(TREEATTN_BLAS AND BLAS_FOUND AND TREEATTN_CBLAS_H)
  target_compile_definitions(treeattn_model PRIVATE MODEL_HAVE_BLAS)
  target_include_directories(treeattn_model SYSTEM PRIVATE ${TREEATTN_CBLAS_H})
  target_link_libraries(treeattn_model PUBLIC ${BLAS_LIBRARIES})
endif()
