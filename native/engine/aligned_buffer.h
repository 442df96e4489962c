// Zeroed memory for weights, KV and activations: 64-byte aligned, backed by huge pages where the system grants them, touched
// (and so paid for) only where it is used.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/status.h"

namespace longshore {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  ~AlignedBuffer() { Free(); }

  // Replaces what was held. kOutOfMemory with the size and `purpose` when the system refuses.
  Status Allocate(uint64_t bytes, const char* purpose);
  void Free();
  // Makes the system back these bytes with memory now, without changing them; beside any use of them. False where it cannot.
  bool Populate(uint64_t offset, uint64_t bytes);

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  uint64_t size() const { return size_; }
  template <typename T>
  T* as() { return reinterpret_cast<T*>(data_); }
  template <typename T>
  const T* as() const { return reinterpret_cast<const T*>(data_); }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

// Hands out consecutive parts of a buffer.
class Carver {
 public:
  explicit Carver(AlignedBuffer& buffer) : next_(buffer.data()) {}
  template <typename T>
  T* Take(uint64_t count) {
    T* at = reinterpret_cast<T*>(next_);
    next_ += count * sizeof(T);
    return at;
  }

 private:
  uint8_t* next_;
};

}  // namespace longshore
