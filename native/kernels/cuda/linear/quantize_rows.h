// Rows of bf16 to fp8 e4m3 with one scale a row: activations before an fp8 product, and weights once when they are loaded.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

struct QuantizeRows {
  const bf16* x;   // [rows][n]
  fp8* quantized;  // [rows][n]: x / scale rounded to nearest
  float* scales;   // [rows]: max |x| / 448 of the row; 1 where the row is all zeros
  int32_t rows;
  int32_t n;       // a multiple of 8, at most 32768
};

cudaError_t LaunchQuantizeRows(const QuantizeRows& params, cudaStream_t stream);

}  // namespace longshore::cuda
