#include "engine/kv/codec_rows.inl.h"
#include "engine/kv/codec_rows_tables.h"

namespace longshore {

const CodecKernels* PortableCodecKernels() {
  static constexpr CodecKernels kernels = CodecKernelsOf("portable");
  return &kernels;
}

}  // namespace longshore
