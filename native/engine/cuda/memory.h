// Owned memory of the card, and host memory that the card copies from and to.
#pragma once

#include <cstdint>
#include <utility>

#include <cuda_runtime_api.h>

#include "engine/status.h"

namespace longshore::cuda {

class OwnedMemory {
 public:
  OwnedMemory(const OwnedMemory&) = delete;
  OwnedMemory& operator=(const OwnedMemory&) = delete;

  uint64_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const { return static_cast<T*>(data_); }

 protected:
  OwnedMemory() = default;
  ~OwnedMemory() = default;

  void* data_ = nullptr;
  uint64_t bytes_ = 0;
};

class DeviceMemory : public OwnedMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(DeviceMemory&& other) noexcept { *this = std::move(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~DeviceMemory() { Free(); }

  // Replaces what was held; not zeroed. kOutOfMemory says the size, the purpose and what the card has left.
  Status Allocate(uint64_t bytes, const char* purpose);
  void Free();
};

class PinnedMemory : public OwnedMemory {
 public:
  ~PinnedMemory() { Free(); }

  // As DeviceMemory's.
  Status Allocate(uint64_t bytes, const char* purpose);
  void Free();
};

// Hands out consecutive parts of a memory, each aligned to 256 bytes. Without a memory it counts: used() is what would be taken.
class Parts {
 public:
  explicit Parts(void* base) : base_(static_cast<uint8_t*>(base)) {}
  template <typename T>
  T* Take(uint64_t count) {
    const uint64_t at = used_;
    used_ += (count * sizeof(T) + 255) / 256 * 256;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  uint64_t used() const { return used_; }

 private:
  uint8_t* base_;
  uint64_t used_ = 0;
};

}  // namespace longshore::cuda
