#include "engine/kv/lossless.h"

#include <algorithm>
#include <cstring>

#include "engine/kv/little_endian.h"

namespace longshore {
namespace {

constexpr auto kPlain = static_cast<uint8_t>(HalfKind::kPlain), kPlanes = static_cast<uint8_t>(HalfKind::kPlanes);
constexpr uint8_t kEscape = 15;

// Where the parts of a half's planes lie after its first byte.
struct Layout {
  size_t bases, rest, low, escapes;

  explicit Layout(const HalfShape& half) {
    bases = 1;
    rest = bases + size_t{half.heads} * half.channels;
    low = rest + half.values();
    escapes = low + half.values() * (half.element_bytes - 2);
  }
};

// Calls visit(index) for each escaped step, in order.
template <typename Visit>
void ForEachEscape(const uint8_t* steps, size_t count, const Visit& visit) {
  for (size_t i = 0; i < count; i++) {
    const void* const found = std::memchr(steps + i, kEscape, count - i);
    if (found == nullptr) return;
    i = static_cast<size_t>(static_cast<const uint8_t*>(found) - steps);
    if (!visit(i)) return;
  }
}

// The exponent's 8 bits lie in the upper two bytes of a little-endian element.
uint8_t* UpperHalf(const HalfShape& half, uint8_t* raw, size_t index) { return raw + (index + 1) * half.element_bytes - 2; }

}  // namespace

size_t MostLosslessBytes(const HalfShape& half) { return 1 + half.raw_bytes(); }

size_t LeastLosslessBytes(const HalfShape& half) {
  // A plain half of few values may be smaller than any planes.
  return std::min(MostLosslessBytes(half), Layout(half).escapes + 4 + kHuffmanHeaderBytes);
}

size_t EncodeLossless(const HalfShape& half, std::span<const uint8_t> raw, std::span<uint8_t> out, std::span<uint8_t> scratch_bytes,
                      const CodecKernels& kernels, const CodecRows& rows) {
  const auto plain = [&] {
    out[0] = kPlain;
    std::memcpy(out.data() + 1, raw.data(), raw.size());
    return MostLosslessBytes(half);
  };
  const Layout at(half);
  const HalfScratch scratch(half, scratch_bytes);
  if (at.escapes + 4 >= MostLosslessBytes(half)) return plain();
  const size_t values = half.head_values(), low_bytes = half.element_bytes - 2;
  for (uint32_t head = 0; head < half.heads; head++) {
    const uint8_t* const source = raw.data() + head * values * half.element_bytes;
    uint8_t* const bases = out.data() + at.bases + size_t{head} * half.channels;
    rows.largest_exponents(source, half.tokens, half.channels, bases);
    rows.split(source, half.tokens, half.channels, bases, scratch.nibbles + head * values, out.data() + at.rest + head * values,
               out.data() + at.low + head * values * low_bytes);
  }
  // Below here at least one byte must be left for the Huffman plane.
  size_t end = at.escapes + 4;
  bool fits = true;
  ForEachEscape(scratch.nibbles, half.values(), [&](size_t i) {
    fits = end + 1 < MostLosslessBytes(half);
    if (fits) out[end++] = static_cast<uint8_t>((uint32_t{raw[(i + 1) * half.element_bytes - 1]} << 1 | raw[(i + 1) * half.element_bytes - 2] >> 7) & 255);
    return fits;
  });
  if (!fits) return plain();
  kernels.pack_nibbles(scratch.nibbles, half.values(), scratch.pairs.data());
  const size_t coded = HuffmanEncode(scratch.pairs, MostLosslessBytes(half) - end, scratch.huffman);
  if (coded == 0) return plain();
  out[0] = kPlanes;
  StoreU32(out.data() + at.escapes, static_cast<uint32_t>(end - at.escapes - 4));
  std::memcpy(out.data() + end, scratch.huffman.data(), coded);
  return end + coded;
}

size_t DecodeLossless(const HalfShape& half, std::span<const uint8_t> in, std::span<uint8_t> raw, std::span<uint8_t> scratch_bytes,
                      const CodecKernels& kernels, const CodecRows& rows) {
  if (in.empty()) return 0;
  if (in[0] == kPlain) {
    if (in.size() < MostLosslessBytes(half)) return 0;
    std::memcpy(raw.data(), in.data() + 1, raw.size());
    return MostLosslessBytes(half);
  }
  const Layout at(half);
  if (in[0] != kPlanes || in.size() < at.escapes + 4) return 0;
  const size_t escapes = LoadU32(in.data() + at.escapes), coded_at = at.escapes + 4 + escapes;
  if (coded_at > in.size()) return 0;
  const HalfScratch scratch(half, scratch_bytes);
  const size_t coded = HuffmanDecode(in.subspan(coded_at), scratch.pairs);
  if (coded == 0) return 0;
  kernels.unpack_nibbles(scratch.pairs.data(), half.values(), scratch.nibbles);
  const size_t values = half.head_values(), low_bytes = half.element_bytes - 2;
  for (uint32_t head = 0; head < half.heads; head++) {
    rows.merge(scratch.nibbles + head * values, in.data() + at.rest + head * values, in.data() + at.low + head * values * low_bytes, half.tokens,
               half.channels, in.data() + at.bases + size_t{head} * half.channels, raw.data() + head * values * half.element_bytes);
  }
  size_t next = at.escapes + 4;
  bool enough = true;
  ForEachEscape(scratch.nibbles, half.values(), [&](size_t i) {
    enough = next < coded_at;
    if (!enough) return false;
    uint8_t* const upper = UpperHalf(half, raw.data(), i);
    const uint8_t exponent = in[next++];
    upper[0] = static_cast<uint8_t>((upper[0] & 0x7f) | exponent << 7);
    upper[1] = static_cast<uint8_t>((upper[1] & 0x80) | exponent >> 1);
    return true;
  });
  return enough && next == coded_at ? coded_at + coded : 0;
}

}  // namespace longshore
