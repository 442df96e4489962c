// Row dequantization: the portable oracle that every fast kernel is tested against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/formats/dtype.h"

namespace longshore {

// Writes n f32 weights of one row. src: RowBytes(dtype, n) bytes, aligned to the type's alignment; n a multiple of the
// type's block_elements. The arithmetic is f32 in ggml's order, so results equal ggml's dequantize_row_* bit for bit.
void DequantizeRow(DType dtype, const uint8_t* src, float* dst, size_t n);

}  // namespace longshore
