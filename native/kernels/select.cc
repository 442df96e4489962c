#include <cstring>

#include "kernels/tables.h"

namespace longshore::kernels {

const KernelTable* SelectKernels(const char* isa) {
  const bool any = std::strcmp(isa, "auto") == 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
                    __builtin_cpu_supports("bmi2");
  // The path needs both VNNI and BF16 (Zen 4, Cooper Lake, Sapphire Rapids and later); older AVX-512 machines run avx2.
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  if (avx512 && (any || std::strcmp(isa, "avx512") == 0)) return Avx512Table();
  if (avx2 && (any || std::strcmp(isa, "avx2") == 0)) return Avx2Table();
#endif
  if (any || std::strcmp(isa, "portable") == 0) return PortableTable();
  return nullptr;
}

}  // namespace longshore::kernels
