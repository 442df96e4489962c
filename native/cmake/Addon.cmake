# longshore.node: the one target with Node's headers. LONGSHORE_NAPI_INCLUDE holds the include folders of the npm packages
# node-addon-api and node-api-headers, separated by ";" (build.mjs passes them).
if(NOT LONGSHORE_NAPI_INCLUDE)
  message(FATAL_ERROR "LONGSHORE_NAPI_INCLUDE is not set: build with `node native/build.mjs`, or pass -DLONGSHORE_ADDON=OFF to build without Node.")
endif()
add_library(longshore_node MODULE addon/addon.cc)
set_target_properties(longshore_node PROPERTIES OUTPUT_NAME longshore PREFIX "" SUFFIX ".node")
target_include_directories(longshore_node SYSTEM PRIVATE ${LONGSHORE_NAPI_INCLUDE})
target_compile_definitions(longshore_node PRIVATE NAPI_VERSION=9 NAPI_CPP_EXCEPTIONS)
target_link_libraries(longshore_node PRIVATE session)
if(APPLE)
  target_link_options(longshore_node PRIVATE -undefined dynamic_lookup)
endif()
