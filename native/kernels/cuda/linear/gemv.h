// Products with one to eight rows, for decode: bound by reading the weights, so each is fused with what stands before and after it.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

enum class GemvWeight : int32_t {
  kBf16,
  kFp8,   // e4m3, one f32 scale a row
  kInt8,  // one f32 scale a row
};

enum class GemvOutput : int32_t {
  kPlain,     // out[row][n] = y in bf16
  kF32,       // logits[row][n] = y in f32
  kAdd,       // out[row][n] += y (rounded once)
  kSilu,      // out[row][n / 2] = silu(y[i]) y[i + n / 2]
  kGelu,      // the same with gelu's tanh formula
  kQkv,       // y is q, k, v: q and k rotated; q to out [row][heads][head_dim], k and v to their place in the paged pool
};

// Where kQkv's rows go: row r is the one new token of sequence r.
struct GemvQkv {
  const float* cos;          // [rows][head_dim / 2]: all channels turn, channel i with i + head_dim / 2
  const float* sin;
  const int32_t* positions;  // device, [rows]
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;          // a multiple of 16, at most 256
  PagedKv kv;                // the block that holds a row's position is mapped already, its old contents finite
};

// y = weight x, or weight rms_norm(x). Row r's bits depend on row r alone, not on how many rows there are.
struct Gemv {
  GemvWeight weight_type;
  const void* weight;          // [n][k]
  const float* weight_scales;  // [n]; null for bf16
  const bf16* bias;            // [n] or null; not with kAdd
  const bf16* x;               // [rows][k]
  const float* norm_weight;    // [k] or null: x is RMS-normalised first (rounded to bf16, as LaunchRmsNorm's out)
  float eps;
  GemvOutput output;
  bf16* out;
  float* logits;               // kF32 only
  GemvQkv qkv;                 // kQkv only
  int32_t rows;                // 1..8
  int32_t n;                   // a multiple of 8; of 16 with kSilu, kGelu, kQkv
  int32_t k;                   // a multiple of 16
};

// False: take Gemm and the single kernels (k * rows must fit in shared memory beside the weights' stages; kQkv serves no norm of heads).
bool GemvServes(const Gemv& params);

// Launched with programmatic stream serialization: the kernel prefetches weights while the kernel before it ends, and reads x only after that
// has finished. weight, weight_scales, bias and norm_weight must therefore not be written by the kernel just before it.
cudaError_t LaunchGemv(const Gemv& params, cudaStream_t stream);

}  // namespace longshore::cuda
