// From ggml's quantized blocks to the kernels' panels: the same integers and scales, reordered for SIMD lanes, never requantized.
#pragma once

#include <cstdint>

#include "engine/formats/dtype.h"
#include "kernels/panel.h"

namespace longshore {

// How a quantized type is held in panels. Memory per weight, packed / in the file (bits): Q4_0 4.5/4.5, Q4_1 5/5, Q5_0 8.5/5.5,
// Q5_1 9/6, Q8_0 8.5/8.5, Q4_K 6/4.5, Q5_K 10/5.5, Q6_K 10/6.56.
kernels::QuantFormat QuantFormatOf(DType dtype);

// Writes lane `lane` of a zeroed panel from one row of k weights.
void PackQuantRow(DType dtype, const uint8_t* row, uint32_t k, uint32_t lane, uint8_t* panel);

}  // namespace longshore
