#include "kernels/cuda/codec/int8_blocks.h"

#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;

template <int kDim>
struct Threads {
  static constexpr int kOctets = kDim / 8;                     // of a row
  static constexpr int kGroups = kThreads / kOctets;           // of tokens: group g holds tokens g, g + kGroups, ...
  static constexpr int kTokensEach = kBlockTokens / kGroups;
  static constexpr int kScales = kDim > kBlockTokens ? kDim : kBlockTokens;  // at most: channels of keys, tokens of values
};

// One block of threads has one half (0: keys, 1: values) of one head of one pool block.
struct Piece {
  uint8_t* stored;  // its scales, then its codes
  bf16* tile;
  int scales;
};

template <int kDim>
__device__ __forceinline__ Piece PieceOf(const Int8Blocks& p) {
  const int head = blockIdx.y, half = blockIdx.z;
  const int64_t codes = static_cast<int64_t>(p.tokens) * kDim, keys = kDim * 4 + codes, values = p.tokens * 4 + codes;
  uint8_t* stored = p.stored + blockIdx.x * p.stored_stride + (half == 0 ? head * keys : p.kv_heads * keys + head * values);
  bf16* tile = (half == 0 ? p.kv.k : p.kv.v) + p.blocks[blockIdx.x] * p.kv.block_stride + head * p.kv.head_stride;
  return {stored, tile, half == 0 ? kDim : p.tokens};
}

// The value section starts at a multiple of 4 alone when a partial block has an odd number of tokens.
__device__ __forceinline__ void StoreCodes(uint8_t* to, uint2 codes) {
  if ((reinterpret_cast<uintptr_t>(to) & 7) == 0) {
    *reinterpret_cast<uint2*>(to) = codes;
  } else {
    reinterpret_cast<uint32_t*>(to)[0] = codes.x;
    reinterpret_cast<uint32_t*>(to)[1] = codes.y;
  }
}

__device__ __forceinline__ uint2 LoadCodes(const uint8_t* from) {
  if ((reinterpret_cast<uintptr_t>(from) & 7) == 0) return *reinterpret_cast<const uint2*>(from);
  return make_uint2(reinterpret_cast<const uint32_t*>(from)[0], reinterpret_cast<const uint32_t*>(from)[1]);
}

__device__ __forceinline__ uint32_t Code(float x, float scale) {
  const float y = x / scale;
  if (!(scale > 0) || y != y) return 0;
  return static_cast<uint32_t>(__float2int_rn(fminf(fmaxf(y, -127.f), 127.f))) & 0xff;
}

template <int kDim>
__global__ void __launch_bounds__(kThreads) EncodeKernel(const Int8Blocks p) {
  constexpr int kOctets = Threads<kDim>::kOctets, kGroups = Threads<kDim>::kGroups, kTokensEach = Threads<kDim>::kTokensEach;
  __shared__ float most[kGroups][kDim];
  __shared__ float scales[Threads<kDim>::kScales];
  const Piece piece = PieceOf<kDim>(p);
  const int octet = threadIdx.x % kOctets, group = threadIdx.x / kOctets;
  const bool keys = blockIdx.z == 0;
  uint4 rows[kTokensEach];
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    rows[i] = token < p.tokens ? RawOctet(piece.tile + TileOffset(token, octet * 8)) : make_uint4(0, 0, 0, 0);
  }
  if (keys) {
    float channel[8] = {};
#pragma unroll
    for (const uint4& row : rows) {
      const Octet x = Unpack(row);
#pragma unroll
      for (int j = 0; j < 8; j++) channel[j] = fmaxf(channel[j], fabsf(x.v[j]));
    }
#pragma unroll
    for (int j = 0; j < 8; j++) most[group][octet * 8 + j] = channel[j];
    __syncthreads();
    if (threadIdx.x < kDim) {
      float largest = 0;
#pragma unroll
      for (int g = 0; g < kGroups; g++) largest = fmaxf(largest, most[g][threadIdx.x]);
      scales[threadIdx.x] = largest / 127.f;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kTokensEach; i++) {
      float largest = 0;
#pragma unroll
      for (float v : Unpack(rows[i]).v) largest = fmaxf(largest, fabsf(v));
#pragma unroll
      for (int lanes = kOctets / 2; lanes > 0; lanes /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, lanes));
      if (octet == 0) scales[group + i * kGroups] = largest / 127.f;
    }
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < piece.scales) reinterpret_cast<float*>(piece.stored)[threadIdx.x] = scales[threadIdx.x];
  uint8_t* codes = piece.stored + piece.scales * 4;
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    if (token >= p.tokens) break;
    const Octet x = Unpack(rows[i]);
    uint32_t words[2] = {};
#pragma unroll
    for (int j = 0; j < 8; j++) words[j / 4] |= Code(x.v[j], keys ? scales[octet * 8 + j] : scales[token]) << (j % 4 * 8);
    StoreCodes(codes + token * kDim + octet * 8, make_uint2(words[0], words[1]));
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads) DecodeKernel(const Int8Blocks p) {
  constexpr int kOctets = Threads<kDim>::kOctets, kGroups = Threads<kDim>::kGroups, kTokensEach = Threads<kDim>::kTokensEach;
  __shared__ float scales[Threads<kDim>::kScales];
  const Piece piece = PieceOf<kDim>(p);
  const int octet = threadIdx.x % kOctets, group = threadIdx.x / kOctets;
  const bool keys = blockIdx.z == 0;
  const uint8_t* codes = piece.stored + piece.scales * 4;
  uint2 rows[kTokensEach];
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    rows[i] = token < p.tokens ? LoadCodes(codes + token * kDim + octet * 8) : make_uint2(0, 0);
  }
  if (threadIdx.x < Threads<kDim>::kScales) scales[threadIdx.x] = static_cast<int>(threadIdx.x) < piece.scales ? reinterpret_cast<const float*>(piece.stored)[threadIdx.x] : 0.f;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    Octet x = {};
    if (token < p.tokens) {
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const uint32_t word = j < 4 ? rows[i].x : rows[i].y;
        x.v[j] = static_cast<float>(static_cast<int8_t>(word >> (j % 4 * 8) & 0xff)) * (keys ? scales[octet * 8 + j] : scales[token]);
      }
    }
    RawOctet(piece.tile + TileOffset(token, octet * 8)) = Pack(x);
  }
}

cudaError_t Check(const Int8Blocks& p) {
  const bool ok = p.count >= 0 && p.tokens >= 1 && p.tokens <= kBlockTokens && p.kv_heads >= 1 && p.kv_heads <= 65535 && (p.head_dim == 64 || p.head_dim == 128 || p.head_dim == 256) &&
                  p.stored_stride % 16 == 0 && p.stored_stride >= Int8BlockBytes(p.kv_heads, p.head_dim, p.tokens);
  return ok ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

int64_t Int8BlockBytes(int32_t kv_heads, int32_t head_dim, int32_t tokens) {
  return int64_t{kv_heads} * (int64_t{head_dim} * 4 + int64_t{tokens} * 4 + 2 * int64_t{tokens} * head_dim);
}

cudaError_t LaunchInt8Encode(const Int8Blocks& params, cudaStream_t stream) {
  if (cudaError_t e = Check(params); e != cudaSuccess || params.count == 0) return e;
  const auto kernel = params.head_dim == 64 ? EncodeKernel<64> : params.head_dim == 128 ? EncodeKernel<128> : EncodeKernel<256>;
  kernel<<<dim3(params.count, params.kv_heads, 2), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t LaunchInt8Decode(const Int8Blocks& params, cudaStream_t stream) {
  if (cudaError_t e = Check(params); e != cudaSuccess || params.count == 0) return e;
  const auto kernel = params.head_dim == 64 ? DecodeKernel<64> : params.head_dim == 128 ? DecodeKernel<128> : DecodeKernel<256>;
  kernel<<<dim3(params.count, params.kv_heads, 2), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
