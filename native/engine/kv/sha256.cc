#include "engine/kv/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace longshore {
namespace internal {
namespace {

// First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t LoadBigEndian(const uint8_t* p) {
  return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | uint32_t{p[3]};
}

}  // namespace

void Sha256ChunksPortable(uint32_t state[8], const uint8_t* data, size_t chunks) {
  for (; chunks > 0; chunks--, data += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = LoadBigEndian(data + 4 * i);
    for (int i = 16; i < 64; i++) {
      const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
}

}  // namespace internal

namespace {

void Chunks(uint32_t state[8], const uint8_t* data, size_t chunks) {
  static const bool instructions = internal::Sha256HasInstructions();
  if (instructions) internal::Sha256ChunksInstructions(state, data, chunks);
  else internal::Sha256ChunksPortable(state, data, chunks);
}

}  // namespace

Sha256::Sha256() : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::Update(std::span<const uint8_t> bytes) {
  size_ += bytes.size();
  if (buffered_ > 0) {
    const size_t take = std::min(bytes.size(), sizeof(buffer_) - buffered_);
    std::copy_n(bytes.begin(), take, buffer_ + buffered_);
    buffered_ += take;
    bytes = bytes.subspan(take);
    if (buffered_ < sizeof(buffer_)) return;
    Chunks(state_, buffer_, 1);
    buffered_ = 0;
  }
  if (bytes.size() >= 64) Chunks(state_, bytes.data(), bytes.size() / 64);
  const auto rest = bytes.subspan(bytes.size() / 64 * 64);
  std::copy(rest.begin(), rest.end(), buffer_);
  buffered_ = rest.size();
}

Digest Sha256::Finish() {
  const uint64_t bits = size_ * 8;
  uint8_t padding[72] = {0x80};
  const size_t zeros = (buffered_ < 56 ? 56 : 120) - buffered_;
  for (int i = 0; i < 8; i++) padding[zeros + i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  Update({padding, zeros + 8});
  Digest digest;
  for (size_t i = 0; i < 32; i++) digest[i] = static_cast<uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  return digest;
}

Digest Sha256Of(std::span<const uint8_t> bytes) {
  Sha256 hash;
  hash.Update(bytes);
  return hash.Finish();
}

Digest HmacSha256(std::span<const uint8_t> key, std::span<const uint8_t> message) {
  Digest short_key;
  if (key.size() > 64) {
    short_key = Sha256Of(key);
    key = short_key;
  }
  uint8_t inner[64], outer[64];
  std::memset(inner, 0x36, sizeof(inner));
  std::memset(outer, 0x5c, sizeof(outer));
  for (size_t i = 0; i < key.size(); i++) inner[i] ^= key[i], outer[i] ^= key[i];
  Sha256 hash;
  hash.Update(inner);
  hash.Update(message);
  const Digest digest = hash.Finish();
  Sha256 outer_hash;
  outer_hash.Update(outer);
  outer_hash.Update(digest);
  return outer_hash.Finish();
}

std::string Hex(std::span<const uint8_t> bytes) {
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace longshore
