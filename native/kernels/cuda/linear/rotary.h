// What lies between the QKV product and attention: bias, norm of each head, rotary positions, and the split into q, k and v.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

// cos and sin of the rows' positions, once a step: angle = position * frequency rounded to f32, its cos and sin in double rounded to f32 and
// times magnitude, as Rope::Angles (engine/rope.h) has them.
struct RotaryAngles {
  const int32_t* positions;  // device, [rows], >= 0
  const float* frequencies;  // device, [half], radians per position
  float* cos;                // [rows][half]
  float* sin;                // [rows][half]
  int32_t rows;
  int32_t half;              // rope_dims / 2
  double magnitude;
};

cudaError_t LaunchRotaryAngles(const RotaryAngles& params, cudaStream_t stream);

struct SplitQkv {
  const bf16* qkv;      // [rows][(heads + 2 kv_heads) * head_dim]: all of q, then k, then v
  const bf16* bias;     // [(heads + 2 kv_heads) * head_dim] or null
  const float* q_norm;  // [head_dim] or null: RMS norm of each query head before rotation
  const float* k_norm;  // [head_dim] or null
  float eps;
  const float* cos;     // [rows][rope_dims / 2]; channel i < rope_dims / 2 turns with channel i + rope_dims / 2
  const float* sin;
  int32_t rope_dims;    // even, at most head_dim; channels past it stay
  int32_t rows;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;     // a multiple of 32, at most 256
  bf16* q;              // [rows][heads][head_dim]
  bf16* k;              // [rows][kv_heads][head_dim]
  bf16* v;              // [rows][kv_heads][head_dim]
};

cudaError_t LaunchSplitQkv(const SplitQkv& params, cudaStream_t stream);

}  // namespace longshore::cuda
