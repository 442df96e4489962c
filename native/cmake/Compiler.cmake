# One set of flags for every target, and for C++ alone: nvcc takes other words.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")

add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>")
if(LONGSHORE_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
# Results must not depend on where the compiler finds a multiply next to an add: kernels ask for FMA by intrinsic.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
# Nobody reads the floating-point exception flags; without them selects in loops become vector code. Values stay the same.
add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-trapping-math>)

if(LONGSHORE_SANITIZE)
  # Assertions are on here: this is the build that looks for bugs.
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:-O1;-g;-UNDEBUG;-fno-omit-frame-pointer;-fsanitize=address,undefined;-fno-sanitize-recover=all>")
  add_link_options(-fsanitize=address,undefined)
endif()
