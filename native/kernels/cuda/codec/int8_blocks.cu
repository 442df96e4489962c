#include "kernels/cuda/codec/int8_blocks.h"

#include "kernels/cuda/linear/octet.cuh"

namespace longshore::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kOctets = kHeadDim / 8;               // of a row
constexpr int kGroups = kThreads / kOctets;         // of tokens: group g holds tokens g, g + 16, ...
constexpr int kTokensEach = kBlockTokens / kGroups;

// One block of threads has one half (0: keys, 1: values) of one head of one pool block.
struct Piece {
  uint8_t* stored;  // its scales, then its codes
  bf16* tile;
  int scales;
};

__device__ __forceinline__ Piece PieceOf(const Int8Blocks& p) {
  const int head = blockIdx.y, half = blockIdx.z;
  const int64_t codes = static_cast<int64_t>(p.tokens) * kHeadDim, keys = kHeadDim * 4 + codes, values = p.tokens * 4 + codes;
  uint8_t* stored = p.stored + blockIdx.x * p.stored_stride + (half == 0 ? head * keys : p.kv_heads * keys + head * values);
  bf16* tile = (half == 0 ? p.kv.k : p.kv.v) + p.blocks[blockIdx.x] * p.kv.block_stride + head * p.kv.head_stride;
  return {stored, tile, half == 0 ? kHeadDim : p.tokens};
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

__global__ void __launch_bounds__(kThreads) EncodeKernel(const Int8Blocks p) {
  __shared__ float most[kGroups][kHeadDim];
  __shared__ float scales[kHeadDim];
  const Piece piece = PieceOf(p);
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
    if (threadIdx.x < kHeadDim) {
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
  if (threadIdx.x < piece.scales) reinterpret_cast<float*>(piece.stored)[threadIdx.x] = scales[threadIdx.x];
  uint8_t* codes = piece.stored + piece.scales * 4;
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    if (token >= p.tokens) break;
    const Octet x = Unpack(rows[i]);
    uint32_t words[2] = {};
#pragma unroll
    for (int j = 0; j < 8; j++) words[j / 4] |= Code(x.v[j], keys ? scales[octet * 8 + j] : scales[token]) << (j % 4 * 8);
    StoreCodes(codes + token * kHeadDim + octet * 8, make_uint2(words[0], words[1]));
  }
}

__global__ void __launch_bounds__(kThreads) DecodeKernel(const Int8Blocks p) {
  __shared__ float scales[kHeadDim];
  const Piece piece = PieceOf(p);
  const int octet = threadIdx.x % kOctets, group = threadIdx.x / kOctets;
  const bool keys = blockIdx.z == 0;
  const uint8_t* codes = piece.stored + piece.scales * 4;
  uint2 rows[kTokensEach];
#pragma unroll
  for (int i = 0; i < kTokensEach; i++) {
    const int token = group + i * kGroups;
    rows[i] = token < p.tokens ? LoadCodes(codes + token * kHeadDim + octet * 8) : make_uint2(0, 0);
  }
  if (threadIdx.x < kHeadDim) scales[threadIdx.x] = threadIdx.x < piece.scales ? reinterpret_cast<const float*>(piece.stored)[threadIdx.x] : 0.f;
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
  const bool ok = p.count >= 0 && p.tokens >= 1 && p.tokens <= kBlockTokens && p.kv_heads >= 1 && p.kv_heads <= 65535 && p.head_dim == kHeadDim &&
                  p.stored_stride % 16 == 0 && p.stored_stride >= Int8BlockBytes(p.kv_heads, p.head_dim, p.tokens);
  return ok ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace

int64_t Int8BlockBytes(int32_t kv_heads, int32_t head_dim, int32_t tokens) {
  return int64_t{kv_heads} * (int64_t{head_dim} * 4 + int64_t{tokens} * 4 + 2 * int64_t{tokens} * head_dim);
}

cudaError_t LaunchInt8Encode(const Int8Blocks& params, cudaStream_t stream) {
  if (cudaError_t e = Check(params); e != cudaSuccess || params.count == 0) return e;
  EncodeKernel<<<dim3(params.count, params.kv_heads, 2), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

cudaError_t LaunchInt8Decode(const Int8Blocks& params, cudaStream_t stream) {
  if (cudaError_t e = Check(params); e != cudaSuccess || params.count == 0) return e;
  DecodeKernel<<<dim3(params.count, params.kv_heads, 2), kThreads, 0, stream>>>(params);
  return cudaGetLastError();
}

}  // namespace longshore::cuda
