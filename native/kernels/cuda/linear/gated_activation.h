// The gate of the MLP, over the fused gate-up product.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;
using fp8 = __nv_fp8_e4m3;

enum class Gating : int32_t { kSilu, kGelu };  // gelu by its tanh formula

struct GatedActivation {
  const bf16* gate_up;  // [rows][2 n]: gate, then up
  Gating gating;
  bf16* out;            // [rows][n] gate(g) * u, or null
  fp8* quantized;       // [rows][n] or null: out / scale, scale = max |out| / 448 of the row
  float* scales;        // [rows], with quantized
  int32_t rows;
  int32_t n;            // a multiple of 8; at most 32768 when quantized
};

cudaError_t LaunchGatedActivation(const GatedActivation& params, cudaStream_t stream);

}  // namespace longshore::cuda
