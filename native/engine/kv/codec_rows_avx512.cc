#include "engine/kv/codec_rows.inl.h"
#include "engine/kv/codec_rows_tables.h"

namespace longshore {

const CodecKernels* Avx512CodecKernels() {
  static constexpr CodecKernels kernels = CodecKernelsOf("avx512");
  return &kernels;
}

}  // namespace longshore
