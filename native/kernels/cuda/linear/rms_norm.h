// RMS norm of rows, with the residual stream's additions before or after it. f32 arithmetic over bf16.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

// y = x (+ delta, rounded to bf16); n = y / sqrt(mean(y^2) + eps) * weight (+ residual); out = n in bf16, or in fp8 with one scale a row.
struct RmsNorm {
  const bf16* x;         // [rows][n]
  const bf16* delta;     // [rows][n] or null: added to x before the norm
  bf16* sum;             // [rows][n] or null: where x + delta goes; may be x itself
  const float* weight;   // [n], the family's offset already added
  float eps;
  const bf16* residual;  // [rows][n] or null: added to the normalised row; may be out itself
  bf16* out;             // [rows][n], or null
  fp8* quantized;        // [rows][n], or null: n / scale, scale = max |n| / 448 of the row
  float* scales;         // [rows], with quantized
  int32_t rows;
  int32_t n;             // a multiple of 8, at most 16384
};

cudaError_t LaunchRmsNorm(const RmsNorm& params, cudaStream_t stream);

}  // namespace longshore::cuda
