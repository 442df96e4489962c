// SHA-256 and HMAC-SHA-256 (FIPS 180-4, RFC 2104). Portable; uses the CPU's SHA instructions where it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace longshore {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void Update(std::span<const uint8_t> bytes);
  void Update(const void* data, size_t size) { Update({static_cast<const uint8_t*>(data), size}); }
  // The digest of everything so far; the object must not be updated afterwards.
  Digest Finish();

 private:
  uint32_t state_[8];
  uint8_t buffer_[64];
  size_t buffered_ = 0;
  uint64_t size_ = 0;  // bytes
};

Digest Sha256Of(std::span<const uint8_t> bytes);
Digest HmacSha256(std::span<const uint8_t> key, std::span<const uint8_t> message);
std::string Hex(std::span<const uint8_t> bytes);  // lower case

namespace internal {
// Both transform whole 64-byte chunks; the portable one is the twin of the other.
void Sha256ChunksPortable(uint32_t state[8], const uint8_t* data, size_t chunks);
bool Sha256HasInstructions();
void Sha256ChunksInstructions(uint32_t state[8], const uint8_t* data, size_t chunks);
}  // namespace internal

}  // namespace longshore
