// How many blocks a sparse prefill read: the sum of its lists' counts.
#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace longshore::cuda {

struct BlockCount {
  const int32_t* counts;       // device, [count], none negative
  int32_t count;
  int32_t weight;              // of each
  unsigned long long* total;   // device: weight times their sum is added to it
};

cudaError_t LaunchBlockCount(const BlockCount& params, cudaStream_t stream);

}  // namespace longshore::cuda
