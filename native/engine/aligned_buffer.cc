#include "engine/aligned_buffer.h"

#include <sys/mman.h>

#include <utility>

namespace longshore {

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  if (this != &other) {
    Free();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

Status AlignedBuffer::Allocate(uint64_t bytes, const char* purpose) {
  Free();
  if (bytes == 0) return Status::Ok();
  void* p = bytes > (uint64_t{1} << 46)
                ? MAP_FAILED
                : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return {Code::kOutOfMemory, std::to_string(bytes >> 20) + " MiB for " + purpose + " were refused by the system"};
#if defined(MADV_HUGEPAGE)
  if (bytes >= (2u << 20)) madvise(p, bytes, MADV_HUGEPAGE);
#endif
  data_ = static_cast<uint8_t*>(p);
  size_ = bytes;
  return Status::Ok();
}

bool AlignedBuffer::Populate(uint64_t offset, uint64_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  return madvise(data_ + offset, bytes, MADV_POPULATE_WRITE) == 0;
#elif defined(__linux__)
  return madvise(data_ + offset, bytes, 23) == 0;  // its number since Linux 5.14; older headers lack the name
#else
  (void)offset, (void)bytes;
  return false;
#endif
}

void AlignedBuffer::Free() {
  if (data_) munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace longshore
