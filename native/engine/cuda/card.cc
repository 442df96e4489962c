#include "engine/cuda/card.h"

namespace longshore::cuda {
namespace {

constexpr int kOldest = 80;

}  // namespace

Result<Card> FindCard() {
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0) {
    cudaGetLastError();
    return Status(Code::kUnsupported, std::string("no CUDA card is usable (") + cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error) +
                                          "); use backend cpu");
  }
  std::string older;
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    const int capability = properties.major * 10 + properties.minor;
    if (capability < kOldest) {
      older = std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor);
      continue;
    }
    if (Status s = CudaStatus(cudaSetDevice(device), "choosing the card"); !s.ok()) return s;
    return Card{device, capability, properties.l2CacheSize, properties.name};
  }
  return Status(Code::kUnsupported, (older.empty() ? std::string("no CUDA card answers") : older) + "; the cuda backend needs 8.0 or later: use backend cpu");
}

Status CudaStatus(cudaError_t error, const std::string& what) {
  if (error == cudaSuccess) return Status::Ok();
  const Code code = error == cudaErrorMemoryAllocation ? Code::kOutOfMemory : Code::kInternal;
  return {code, what + ": " + cudaGetErrorString(error)};
}

}  // namespace longshore::cuda
