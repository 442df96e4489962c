// Element types of stored weights and the sizes of their blocks.
//
// Quantized types store a row as consecutive blocks of `block_elements` weights; a row's length is always a multiple of it.
// Sizes and layouts are ggml's (ggml-common.h); the structs are in quant_blocks.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore {

// Values are GGUF's ggml_type numbers, so a GGUF tensor's type is this enum after a range check.
enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBf16 = 30,
};

struct DTypeTraits {
  const char* name;          // "F32", "Q4_K", "BF16", ...
  uint32_t block_elements;   // weights per block: 1, 32 or 256
  uint32_t block_bytes;      // bytes per block
  uint32_t alignment;        // bytes; a block's widest member
};

// nullptr for a number that is none of the types above.
const DTypeTraits* FindDTypeTraits(uint32_t dtype);

// Traits of a valid DType.
const DTypeTraits& TraitsOf(DType dtype);

inline bool IsQuantized(DType dtype) { return TraitsOf(dtype).block_elements > 1; }

// Bytes of one row of `elements` weights; elements must be a multiple of block_elements.
inline size_t RowBytes(DType dtype, size_t elements) {
  const DTypeTraits& t = TraitsOf(dtype);
  return elements / t.block_elements * t.block_bytes;
}

}  // namespace longshore
