#include "kernels/cuda/test/slow_twins.h"

#include "kernels/cuda/test/device_array.h"

namespace longshore::cuda::test {
namespace {

__device__ float Dot(const bf16* a, const bf16* b, int channels) {
  float sum = 0;
  for (int i = 0; i < channels; i++) sum += __bfloat162float(a[i]) * __bfloat162float(b[i]);
  return sum;
}

// Attention of one query over [first, length) of one kv head; 128 threads, a thread per token and then per channel (and the one 128 after it).
__device__ void Attend(const bf16* q, const bf16* k, const bf16* v, int64_t stride, int channels, int first, int length, float scale, const uint32_t* mask,
                       float* out) {
  __shared__ float weight[128];
  __shared__ float reduce[128];
  const int t = threadIdx.x;
  const auto listed = [&](int token) { return token >= first && token < length && (!mask || (mask[token / 128 / 32] >> (token / 128 % 32) & 1)); };
  float peak = -INFINITY;
  for (int base = 0; base < length; base += 128)
    if (listed(base + t)) peak = fmaxf(peak, scale * Dot(q, k + (base + t) * stride, channels));
  reduce[t] = peak;
  __syncthreads();
  for (int i = 0; i < 128; i++) peak = fmaxf(peak, reduce[i]);
  float total = 0, value[2] = {0, 0};
  for (int base = 0; base < length; base += 128) {
    __syncthreads();
    weight[t] = listed(base + t) ? expf(scale * Dot(q, k + (base + t) * stride, channels) - peak) : 0;
    __syncthreads();
    for (int i = 0; i < 128 && base + i < length; i++) {
      total += weight[i];
      for (int j = 0; j < 2; j++)
        if (t + 128 * j < channels) value[j] += weight[i] * __bfloat162float(v[(base + i) * stride + t + 128 * j]);
    }
  }
  for (int j = 0; j < 2; j++)
    if (t + 128 * j < channels) out[t + 128 * j] = value[j] / total;
}

__global__ void PrefillTwin(const bf16* q, int heads, PlainContext context, const PrefillTile* tiles, int tile_count, float scale,
                            const uint32_t* mask, int mask_words, int sliding_window, float* out) {
  const int tile_index = blockIdx.x / kBlockTokens, row = blockIdx.x % kBlockTokens, head = blockIdx.y;
  const PrefillTile tile = tiles[tile_index];
  if (row < tile.first || row >= tile.last) return;
  const int64_t stride = context.kv_heads * context.head_dim;
  const int64_t base = context.context_row[tile.sequence] * stride + head / (heads / context.kv_heads) * context.head_dim;
  const int64_t at = (static_cast<int64_t>(tile.row + row) * heads + head) * context.head_dim;
  const int length = tile.query_block * kBlockTokens + row + 1;
  Attend(q + at, context.k + base, context.v + base, stride, context.head_dim, sliding_window > 0 ? max(0, length - sliding_window) : 0, length, scale,
         mask ? mask + (static_cast<int64_t>(head) * tile_count + tile_index) * mask_words : nullptr, out + at);
}

__global__ void DecodeTwin(const bf16* q, int heads, PlainContext context, const int32_t* lengths, float scale, int sliding_window, float* out) {
  const int sequence = blockIdx.x, head = blockIdx.y;
  const int64_t stride = context.kv_heads * context.head_dim;
  const int64_t base = context.context_row[sequence] * stride + head / (heads / context.kv_heads) * context.head_dim;
  const int64_t at = (static_cast<int64_t>(sequence) * heads + head) * context.head_dim;
  Attend(q + at, context.k + base, context.v + base, stride, context.head_dim, sliding_window > 0 ? max(0, lengths[sequence] - sliding_window) : 0,
         lengths[sequence], scale, nullptr, out + at);
}

// One thread per row.
__global__ void BlockMassTwin(const bf16* q, int heads, PlainContext context, const PrefillTile* tiles, int tile_count, float scale,
                              const uint32_t* mask, int mask_words, int max_blocks, float* mass) {
  const PrefillTile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, row = threadIdx.x;
  const int64_t stride = context.kv_heads * context.head_dim, index = static_cast<int64_t>(head) * tile_count + blockIdx.x;
  const bf16* k = context.k + context.context_row[tile.sequence] * stride + head / (heads / context.kv_heads) * context.head_dim;
  float* out = mass + (index * kBlockTokens + row) * max_blocks;
  for (int b = 0; b < max_blocks; b++) out[b] = 0;
  if (row < tile.first || row >= tile.last) return;
  const bf16* query = q + (static_cast<int64_t>(tile.row + row) * heads + head) * context.head_dim;
  const int last = tile.query_block * kBlockTokens + row;
  float peak = -INFINITY;
  for (const bool summing : {false, true}) {
    for (int b = 0; b <= tile.query_block; b++) {
      if (!(mask[index * mask_words + b / 32] >> (b % 32) & 1)) continue;
      float value = summing ? 0 : -INFINITY;
      for (int token = b * kBlockTokens; token < (b + 1) * kBlockTokens && token <= last; token++) {
        const float score = scale * Dot(query, k + token * stride, context.head_dim);
        value = summing ? value + expf(score - peak) : fmaxf(value, score);
      }
      if (summing) out[b] = value;
      else peak = fmaxf(peak, value);
    }
  }
}

// One thread block per (tile, head); scores[128 rows][max_blocks] in global memory.
__global__ void EnergyTwin(const bf16* q, int heads, PlainContext context, const PrefillTile* tiles, int tile_count, float scale,
                           int max_blocks, float* scores, float* energy) {
  __shared__ float mean[kMaxHeadDim];
  const PrefillTile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, t = threadIdx.x;
  const int64_t stride = context.kv_heads * context.head_dim, index = static_cast<int64_t>(head) * tile_count + blockIdx.x;
  const bf16* k = context.k + context.context_row[tile.sequence] * stride + head / (heads / context.kv_heads) * context.head_dim;
  const bool valid = t >= tile.first && t < tile.last;
  float* row_scores = scores + (index * kBlockTokens + t) * max_blocks;
  float peak = -INFINITY;
  for (int b = 0; b <= tile.query_block; b++) {
    const int tokens = b == tile.query_block ? tile.last : kBlockTokens;
    __syncthreads();
    for (int c = t; c < context.head_dim; c += kBlockTokens) {
      float sum = 0;
      for (int i = 0; i < tokens; i++) sum += __bfloat162float(k[(static_cast<int64_t>(b) * kBlockTokens + i) * stride + c]);
      mean[c] = sum / tokens;
    }
    __syncthreads();
    float score = 0;
    if (valid)
      for (int i = 0; i < context.head_dim; i++)
        score += __bfloat162float(q[(static_cast<int64_t>(tile.row + t) * heads + head) * context.head_dim + i]) * mean[i];
    row_scores[b] = score * scale;
    peak = fmaxf(peak, row_scores[b]);
  }
  for (int b = 0; b <= tile.query_block; b++) row_scores[b] = valid ? expf(row_scores[b] - peak) : 0;
  __syncthreads();
  for (int b = t; b <= tile.query_block; b += kBlockTokens) {
    float sum = 0;
    for (int row = 0; row < kBlockTokens; row++) sum += scores[(index * kBlockTokens + row) * max_blocks + b];
    energy[index * max_blocks + b] = sum;
  }
}

}  // namespace

void SlowPrefill(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                 const uint32_t* mask, int32_t mask_words, float* out, int32_t sliding_window) {
  PrefillTwin<<<dim3(tile_count * kBlockTokens, heads), 128>>>(q, heads, context, tiles, tile_count, scale, mask, mask_words, sliding_window, out);
  REQUIRE_CUDA(cudaGetLastError());
  REQUIRE_CUDA(cudaDeviceSynchronize());
}

void SlowBlockMass(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                   const uint32_t* mask, int32_t mask_words, int32_t max_blocks, float* mass) {
  BlockMassTwin<<<dim3(tile_count, heads), kBlockTokens>>>(q, heads, context, tiles, tile_count, scale, mask, mask_words, max_blocks, mass);
  REQUIRE_CUDA(cudaGetLastError());
  REQUIRE_CUDA(cudaDeviceSynchronize());
}

void SlowBlockEnergy(const bf16* q, int32_t heads, const PlainContext& context, const PrefillTile* tiles, int32_t tile_count, float scale,
                     int32_t max_blocks, float* energy) {
  DeviceArray<float> scores(static_cast<size_t>(heads) * tile_count * kBlockTokens * max_blocks);
  EnergyTwin<<<dim3(tile_count, heads), 128>>>(q, heads, context, tiles, tile_count, scale, max_blocks, scores.get(), energy);
  REQUIRE_CUDA(cudaGetLastError());
  REQUIRE_CUDA(cudaDeviceSynchronize());
}

void SlowDecode(const bf16* q, int32_t heads, const PlainContext& context, const int32_t* lengths, int32_t sequences, float scale, float* out, int32_t sliding_window) {
  DecodeTwin<<<dim3(sequences, heads), 128>>>(q, heads, context, lengths, scale, sliding_window, out);
  REQUIRE_CUDA(cudaGetLastError());
  REQUIRE_CUDA(cudaDeviceSynchronize());
}

}  // namespace longshore::cuda::test
