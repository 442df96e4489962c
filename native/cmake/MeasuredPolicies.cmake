# engine/policy/models/*.json, measured per model, as string literals of one generated file.
file(GLOB measured_policies CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/engine/policy/models/*.json)
set(measured_literals "")
foreach(path ${measured_policies})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(READ ${path} text)
  string(APPEND measured_literals "R\"policy(${text})policy\",\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/generated/measured_policies.inc CONTENT "@measured_literals@" @ONLY)
