// Device memory for the tests: owned, poisoned until written, and every CUDA error ends the test process with its place.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include <cuda_runtime.h>

namespace longshore::cuda::test {

inline void Require(cudaError_t error, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s\n", file, line, cudaGetErrorString(error));
  std::exit(1);
}
#define REQUIRE_CUDA(expression) ::longshore::cuda::test::Require(expression, __FILE__, __LINE__)

template <typename T>
class DeviceArray {
 public:
  // Filled with 0xff bytes: NaN in every float format, -1 in integers.
  explicit DeviceArray(size_t count) : count_(count) {
    REQUIRE_CUDA(cudaMalloc(&data_, count * sizeof(T) + 16));
    Poison();
  }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    REQUIRE_CUDA(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  DeviceArray(DeviceArray&& other) noexcept : data_(std::exchange(other.data_, nullptr)), count_(other.count_) {}
  ~DeviceArray() { cudaFree(data_); }

  void Poison() { REQUIRE_CUDA(cudaMemset(data_, 0xff, count_ * sizeof(T))); }
  void Zero() { REQUIRE_CUDA(cudaMemset(data_, 0, count_ * sizeof(T))); }
  T* get() const { return data_; }
  size_t count() const { return count_; }
  std::vector<T> Host() const {
    std::vector<T> host(count_);
    REQUIRE_CUDA(cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t count_;
};

}  // namespace longshore::cuda::test
