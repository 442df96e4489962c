// Prefill for any card, head_dim and sliding window: a thread block per (half tile of 64 rows, head), four warps of 16 rows, keys and values 64 tokens at a
// time. Blocks are walked upwards, so that a row's bits depend neither on how a prompt was split nor on the other rows. Correct first; no copies overlap within a block.
#include "kernels/cuda/generic_kernels.h"
#include "kernels/cuda/online_softmax.cuh"
#include "kernels/cuda/warp_product.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 128;

template <int kChannels>
__global__ void __launch_bounds__(kThreads) GenericPrefillKernel(const PrefillAttention params) {
  extern __shared__ __align__(16) uint8_t raw[];
  bf16* q = reinterpret_cast<bf16*>(raw);
  bf16* k = q + kHalfRows * kChannels;
  bf16* v = k + kHalfRows * kChannels;
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, c = lane & 3;
  const int tile_index = blockIdx.x / 2, half = blockIdx.x % 2, head = blockIdx.y;
  const PrefillTile tile = params.tiles[tile_index];
  if (kHalfRows * half >= tile.last || kHalfRows * (half + 1) <= tile.first) return;
  const int kv_head = head / (params.heads / params.kv_heads);
  const int32_t* table = params.kv.block_table + static_cast<int64_t>(tile.sequence) * params.kv.table_stride;
  const uint32_t* mask = params.mask ? params.mask + (static_cast<int64_t>(head) * params.tile_count + tile_index) * params.mask_words : nullptr;
  const float log2_scale = params.scale * 1.4426950408889634f;

  for (int i = threadIdx.x; i < kHalfRows * kChannels / 8; i += kThreads) {
    const int row = i / (kChannels / 8), channel = i % (kChannels / 8) * 8, tile_row = kHalfRows * half + row;
    uint4 chunk = {0, 0, 0, 0};
    if (tile_row >= tile.first && tile_row < tile.last && channel < params.head_dim)
      chunk = *reinterpret_cast<const uint4*>(params.q + (static_cast<int64_t>(tile.row + tile_row) * params.heads + head) * params.head_dim + channel);
    *reinterpret_cast<uint4*>(q + HalfOffset(row, channel)) = chunk;
  }

  const int first_position = tile.query_block * kBlockTokens + kHalfRows * half;  // of the half tile's rows
  const int row_position = first_position + 16 * warp + g;                        // and that + 8 are this thread's
  const int oldest = params.sliding_window > 0 ? max(0, first_position - params.sliding_window + 1) : 0;
  float o[kChannels / 8][4] = {};
  float reference[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  for (int block = oldest / kBlockTokens; block <= tile.query_block; block++) {
    if (mask && !(mask[block / 32] >> (block % 32) & 1)) continue;
    const int64_t offset = table[block] * params.kv.block_stride + kv_head * params.kv.head_stride;
    for (int part = 0; part < 2; part++) {
      const int position = block * kBlockTokens + kHalfRows * part;
      if (position > first_position || position + kHalfRows <= oldest) continue;
      __syncthreads();
      CopyHalf<kChannels, kThreads>(k, params.kv.k + offset, part);
      CopyHalf<kChannels, kThreads>(v, params.kv.v + offset, part);
      __syncthreads();
      float s[8][4] = {};
#pragma unroll
      for (int step = 0; step < kChannels / 16; step++) {
        uint32_t a[4];
        LoadFour<false>(a, q + HalfOffset(16 * warp + (lane & 15), 16 * step + (lane & 16 ? 8 : 0)));
#pragma unroll
        for (int n = 0; n < 4; n++) {
          uint32_t b[4];
          LoadFour<false>(b, k + HalfOffset(16 * n + (lane & 7) + (lane & 16 ? 8 : 0), 16 * step + (lane & 8)));
          WarpProduct(s[2 * n], a, b[0], b[1]);
          WarpProduct(s[2 * n + 1], a, b[2], b[3]);
        }
      }
      float peak[2] = {reference[0], reference[1]};
#pragma unroll
      for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int token = position + 8 * n + 2 * c + (i & 1), row = row_position + 8 * (i >> 1);
          if (token > row || (params.sliding_window > 0 && token <= row - params.sliding_window)) s[n][i] = -INFINITY;
          peak[i >> 1] = fmaxf(peak[i >> 1], s[n][i]);
        }
      }
      float shift[2], factor[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        peak[h] = QuadMax(peak[h]);
        shift[h] = peak[h] == -INFINITY ? 0.0f : peak[h] * log2_scale;  // no key of this row so far: every weight is 0
        factor[h] = Exp2(fmaf(reference[h], log2_scale, -shift[h]));
        reference[h] = peak[h];
        sum[h] *= factor[h];
      }
#pragma unroll
      for (int n = 0; n < 8; n++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          s[n][i] = Exp2(fmaf(s[n][i], log2_scale, -shift[i >> 1]));
          sum[i >> 1] += s[n][i];
        }
      }
#pragma unroll
      for (int j = 0; j < kChannels / 8; j++) {
#pragma unroll
        for (int i = 0; i < 4; i++) o[j][i] *= factor[i >> 1];
      }
#pragma unroll
      for (int step = 0; step < 4; step++) {
        const uint32_t a[4] = {PackBf16(s[2 * step][0], s[2 * step][1]), PackBf16(s[2 * step][2], s[2 * step][3]),
                               PackBf16(s[2 * step + 1][0], s[2 * step + 1][1]), PackBf16(s[2 * step + 1][2], s[2 * step + 1][3])};
#pragma unroll
        for (int j = 0; j < kChannels / 16; j++) {
          uint32_t b[4];
          LoadFour<true>(b, v + HalfOffset(16 * step + (lane & 15), 16 * j + (lane & 16 ? 8 : 0)));
          WarpProduct(o[2 * j], a, b[0], b[1]);
          WarpProduct(o[2 * j + 1], a, b[2], b[3]);
        }
      }
    }
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int tile_row = kHalfRows * half + 16 * warp + g + 8 * h;
    const float inverse = 1.0f / QuadSum(sum[h]);
    if (tile_row < tile.first || tile_row >= tile.last) continue;
    bf16* out = params.out + (static_cast<int64_t>(tile.row + tile_row) * params.heads + head) * params.head_dim;
#pragma unroll
    for (int j = 0; j < kChannels / 8; j++)
      if (8 * j < params.head_dim) *reinterpret_cast<uint32_t*>(out + 8 * j + 2 * c) = PackBf16(o[j][2 * h] * inverse, o[j][2 * h + 1] * inverse);
  }
}

template <int kChannels>
cudaError_t Launch(const PrefillAttention& params, cudaStream_t stream) {
  constexpr int kSharedBytes = 3 * kHalfRows * kChannels * 2;
  const cudaError_t error = cudaFuncSetAttribute(GenericPrefillKernel<kChannels>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  GenericPrefillKernel<kChannels><<<dim3(2 * params.tile_count, params.heads), kThreads, kSharedBytes, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace

cudaError_t GenericPrefillAttention(const PrefillAttention& params, cudaStream_t stream) {
  if (params.heads > 65535) return cudaErrorInvalidValue;
  switch (PaddedHeadDim(params.head_dim)) {
    case 64: return Launch<64>(params, stream);
    case 128: return Launch<128>(params, stream);
    case 192: return Launch<192>(params, stream);
    default: return Launch<256>(params, stream);
  }
}

}  // namespace longshore::cuda
