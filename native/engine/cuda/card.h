// The CUDA card that the engine runs on.
#pragma once

#include <cstdint>
#include <string>

#include <cuda_runtime_api.h>

#include "engine/status.h"

namespace longshore::cuda {

struct Card {
  int device = 0;
  int capability = 0;        // 90: compute capability 9.0
  int64_t l2_bytes = 0;
  std::string name;
};

// The first usable card of the process, made current. kUnsupported, in one line: no driver, no card, or none from compute capability 8.0 on.
Result<Card> FindCard();

// Ok, or kOutOfMemory / kInternal with CUDA's words and what was tried.
Status CudaStatus(cudaError_t error, const std::string& what);

}  // namespace longshore::cuda
