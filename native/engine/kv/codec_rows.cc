#include "engine/kv/codec_rows.h"

#include <cstring>

#include "engine/kv/codec_rows_tables.h"

namespace longshore {

const CodecKernels* SelectCodecKernels(const char* isa) {
  const bool any = std::strcmp(isa, "auto") == 0;
#if defined(__x86_64__)
  // What native/cmake/Isa.cmake lets the compiler use in each file.
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  if (avx512 && (any || std::strcmp(isa, "avx512") == 0)) return Avx512CodecKernels();
  if (avx2 && (any || std::strcmp(isa, "avx2") == 0)) return Avx2CodecKernels();
#endif
  return any || std::strcmp(isa, "portable") == 0 ? PortableCodecKernels() : nullptr;
}

}  // namespace longshore
