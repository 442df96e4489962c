// Tensor-core products of one warp (PTX ISA, mma.sync and ldmatrix; sm_80 on).
//
// Lane = 4g + c. Left operand a of 16 x 16: a[0], a[1] rows g and g + 8, columns 2c and 2c + 1; a[2], a[3] the same at columns + 8. Right operand of 16 x 8: b0 rows 2c and
// 2c + 1, b1 the same + 8, column g. d of 16 x 8: d[0], d[1] row g, columns 2c and 2c + 1; d[2], d[3] row g + 8.
#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace longshore::cuda {

// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
template <bool kTransposed>
__device__ __forceinline__ void LoadFour(uint32_t (&r)[4], const __nv_bfloat16* row) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// d += a b.
__device__ __forceinline__ void WarpProduct(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Half a tile: 64 rows of each panel, in the tile's own order.
constexpr int kHalfRows = 64;
constexpr int kHalfPanel = kHalfRows * 64;
__device__ __forceinline__ int HalfOffset(int row, int channel) {
  return (channel >> 6) * kHalfPanel + row * 64 + ((((channel >> 3) & 7) ^ (row & 7)) << 3) + (channel & 7);
}

// Copies half `half` of a tile to shared memory; all threads of the block.
template <int kChannels, int kThreads>
__device__ __forceinline__ void CopyHalf(__nv_bfloat16* shared, const __nv_bfloat16* tile, int half) {
  constexpr int kPanelChunks = kHalfPanel / 8;
#pragma unroll
  for (int i = threadIdx.x; i < kChannels / 64 * kPanelChunks; i += kThreads) {
    const int panel = i / kPanelChunks, chunk = i % kPanelChunks;
    reinterpret_cast<uint4*>(shared)[i] = reinterpret_cast<const uint4*>(tile + panel * 2 * kHalfPanel + half * kHalfPanel)[chunk];
  }
}

}  // namespace longshore::cuda
