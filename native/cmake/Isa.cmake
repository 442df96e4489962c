# Files named *_avx2.cc and *_avx512.cc are compiled for that instruction set and only on x86-64; everything else is built
# for the baseline and chooses at run time. Such a file must not instantiate inline functions shared with baseline code
# (the linker keeps one copy, perhaps the one that an older CPU cannot run): keep its helpers static or in a namespace of its own.
set(LONGSHORE_AVX2_FLAGS -mavx2 -mfma -mf16c -mbmi2)
set(LONGSHORE_AVX512_FLAGS ${LONGSHORE_AVX2_FLAGS}
    -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16 -mprefer-vector-width=512)

string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" longshore_processor)
if(longshore_processor MATCHES "^(x86_64|amd64)$")
  set(LONGSHORE_X86 ON)
else()
  set(LONGSHORE_X86 OFF)
endif()

# Sets the flags of the ISA files in the list named `list_name`; removes them from it where they cannot be compiled.
function(longshore_isa_sources list_name)
  set(kept)
  foreach(source IN LISTS ${list_name})
    if(source MATCHES "_avx512\\.cc$")
      set(flags ${LONGSHORE_AVX512_FLAGS})
    elseif(source MATCHES "_avx2\\.cc$")
      set(flags ${LONGSHORE_AVX2_FLAGS})
    else()
      list(APPEND kept ${source})
      continue()
    endif()
    if(LONGSHORE_X86)
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${flags}")
      list(APPEND kept ${source})
    endif()
  endforeach()
  set(${list_name} ${kept} PARENT_SCOPE)
endfunction()
