#include "engine/cuda/memory.h"

#include <cstdio>
#include <string>

#include "engine/cuda/card.h"

namespace longshore::cuda {
namespace {

std::string GiB(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1u << 30));
  return text;
}

}  // namespace

Status DeviceMemory::Allocate(uint64_t bytes, const char* purpose) {
  Free();
  const cudaError_t error = cudaMalloc(&data_, bytes);
  if (error == cudaSuccess) {
    bytes_ = bytes;
    return Status::Ok();
  }
  cudaGetLastError();
  data_ = nullptr;
  size_t left = 0, total = 0;
  cudaMemGetInfo(&left, &total);
  return CudaStatus(error, "the card has " + GiB(left) + " of " + GiB(total) + " left and " + purpose + " takes " + GiB(bytes));
}

void DeviceMemory::Free() {
  if (data_ != nullptr) cudaFree(data_);
  data_ = nullptr;
  bytes_ = 0;
}

Status PinnedMemory::Allocate(uint64_t bytes, const char* purpose) {
  Free();
  if (const cudaError_t error = cudaMallocHost(&data_, bytes); error != cudaSuccess) {
    cudaGetLastError();
    data_ = nullptr;
    return CudaStatus(error, "pinned host memory of " + GiB(bytes) + " for " + purpose);
  }
  bytes_ = bytes;
  return Status::Ok();
}

void PinnedMemory::Free() {
  if (data_ != nullptr) cudaFreeHost(data_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace longshore::cuda
