// The copy engine: contiguous bulk copies and tensor-map tiles from global to shared memory, completing on an mbarrier.
#pragma once

#include <cstdint>

#include <cuda.h>

#include "kernels/cuda/barrier.cuh"

namespace longshore::cuda {

// bytes: a multiple of 16; both addresses 16-byte aligned.
__device__ __forceinline__ void BulkCopy(void* shared, const void* global, uint32_t bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(SharedAddress(shared)),
               "l"(global), "r"(bytes), "r"(SharedAddress(barrier))
               : "memory");
}

__device__ __forceinline__ void TensorCopy(void* shared, const CUtensorMap* map, int channel, int head, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(
          SharedAddress(shared)),
      "l"(map), "r"(channel), "r"(head), "r"(row), "r"(SharedAddress(barrier))
      : "memory");
}

__device__ __forceinline__ void PrefetchTensorMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

}  // namespace longshore::cuda
