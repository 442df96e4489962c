#include "engine/kv/codec_rows.inl.h"
#include "engine/kv/codec_rows_tables.h"

namespace longshore {

const CodecKernels* Avx2CodecKernels() {
  static constexpr CodecKernels kernels = CodecKernelsOf("avx2");
  return &kernels;
}

}  // namespace longshore
