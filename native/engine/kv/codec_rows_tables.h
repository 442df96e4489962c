// What SelectCodecKernels chooses from.
#pragma once

#include "engine/kv/codec_rows.h"

namespace longshore {

const CodecKernels* PortableCodecKernels();
#if defined(__x86_64__)
const CodecKernels* Avx2CodecKernels();
const CodecKernels* Avx512CodecKernels();
#endif

}  // namespace longshore
