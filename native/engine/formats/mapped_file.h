// A whole file mapped read-only.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "engine/status.h"

namespace longshore {

class MappedFile {
 public:
  // Errors: kNotFound (missing, unreadable or not a regular file), kCorrupt (empty), kOutOfMemory (the mapping failed).
  static Result<MappedFile> Open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace longshore
