#include "engine/kv/int4.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/kv/bf16.h"
#include "engine/kv/shape.h"
#include "engine/kv/lossless.h"

namespace longshore {
namespace {

constexpr uint32_t kMostChannels = 1024;
static_assert(kBlockTokens <= kMostChannels);

// A channel of the head's average range is cut into this many steps. More range, more steps: the step grows with the root of the range,
// because errors of all channels add up in the same scores. Chosen on SmolLM2 for 4 bits a value over all.
constexpr float kKeySteps = 14.f;
// No channel's codes may leave 5 bits.
constexpr float kMostKeySteps = 30.f;
// Steps from 0 to a token's largest value.
constexpr float kValueSteps = 6.f;

float RoundedToBf16(float x) { return FloatOfBf16(Bf16OfFloat(x)); }

float LoadBf16(const uint8_t* p) { return FloatOfBf16(static_cast<uint16_t>(p[0] | p[1] << 8)); }
void StoreBf16(uint8_t* p, float x) {
  const uint16_t bits = Bf16OfFloat(x);
  p[0] = static_cast<uint8_t>(bits);
  p[1] = static_cast<uint8_t>(bits >> 8);
}

// 0 for a step of 0, and where 1 / step is not finite: everything then falls on the middle.
float InverseOf(float step) {
  const float inverse = 1.f / step;
  return step > 0.f && std::isfinite(inverse) ? inverse : 0.f;
}

struct KeyScales {
  float zeros[kMostChannels], steps[kMostChannels];
};

// Scales of one head's keys; false where a value is not finite.
bool FindKeyScales(const CodecRows& rows, const HalfShape& half, const uint8_t* raw, KeyScales* scales) {
  float *const least = scales->zeros, *const most = scales->steps;
  rows.channel_ranges(raw, half.tokens, half.channels, least, most);
  float sum = 0.f;
  for (uint32_t c = 0; c < half.channels; c++) sum += most[c] - least[c];
  const float average = sum / static_cast<float>(half.channels);
  if (!std::isfinite(average)) return false;
  for (uint32_t c = 0; c < half.channels; c++) {
    const float range = most[c] - least[c], middle = RoundedToBf16(0.5f * least[c] + 0.5f * most[c]);
    const float step = std::max(std::sqrt(range) * std::sqrt(average) / kKeySteps, range / kMostKeySteps);
    scales->zeros[c] = middle;
    scales->steps[c] = RoundedToBf16(step);
  }
  return true;
}

// Bytes of scales before the planes.
size_t ScaleBytes(const HalfShape& half, bool keys) { return size_t{half.heads} * (keys ? 4 * size_t{half.channels} : 2 * size_t{half.tokens}); }
size_t LowBitBytes(const HalfShape& half, bool keys) { return keys ? (half.values() + 7) / 8 : 0; }

// Scales to out[1...], codes to `codes`; false where a value is not finite.
bool Quantize(const HalfShape& half, bool keys, const uint8_t* raw, uint8_t* scales_out, uint8_t* codes, const CodecRows& rows) {
  const size_t head_bytes = half.head_values() * half.element_bytes;
  float inverses[kMostChannels];
  for (uint32_t head = 0; head < half.heads; head++, raw += head_bytes, codes += half.head_values()) {
    KeyScales scales;
    if (keys) {
      if (!FindKeyScales(rows, half, raw, &scales)) return false;
      for (uint32_t c = 0; c < half.channels; c++, scales_out += 4) {
        StoreBf16(scales_out, scales.zeros[c]);
        StoreBf16(scales_out + 2, scales.steps[c]);
        inverses[c] = InverseOf(scales.steps[c]);
      }
      rows.quantize_keys(raw, half.tokens, half.channels, scales.zeros, inverses, codes);
      continue;
    }
    rows.token_magnitudes(raw, half.tokens, half.channels, inverses);
    for (uint32_t t = 0; t < half.tokens; t++, scales_out += 2) {
      if (!std::isfinite(inverses[t])) return false;
      const float step = RoundedToBf16(inverses[t] / kValueSteps);
      StoreBf16(scales_out, step);
      inverses[t] = InverseOf(step);
    }
    rows.quantize_values(raw, half.tokens, half.channels, inverses, codes);
  }
  return true;
}

void Dequantize(const HalfShape& half, bool keys, const uint8_t* scales_in, const uint8_t* codes, uint8_t* raw, const CodecRows& rows) {
  const size_t head_bytes = half.head_values() * half.element_bytes;
  KeyScales scales;
  for (uint32_t head = 0; head < half.heads; head++, raw += head_bytes, codes += half.head_values()) {
    if (keys) {
      for (uint32_t c = 0; c < half.channels; c++, scales_in += 4) {
        scales.zeros[c] = LoadBf16(scales_in);
        scales.steps[c] = LoadBf16(scales_in + 2);
      }
      rows.dequantize_keys(codes, half.tokens, half.channels, scales.zeros, scales.steps, raw);
    } else {
      for (uint32_t t = 0; t < half.tokens; t++, scales_in += 2) scales.steps[t] = LoadBf16(scales_in);
      rows.dequantize_values(codes, half.tokens, half.channels, scales.steps, raw);
    }
  }
}

HalfKind KindOf(bool keys) { return keys ? HalfKind::kKeys4 : HalfKind::kValues4; }

}  // namespace

size_t LeastInt4Bytes(const HalfShape& half, bool keys) {
  return std::min(LeastLosslessBytes(half), 1 + ScaleBytes(half, keys) + LowBitBytes(half, keys) + kHuffmanHeaderBytes + (half.values() + 1) / 2 / 8);
}

size_t EncodeInt4(const HalfShape& half, bool keys, std::span<const uint8_t> raw, std::span<uint8_t> out, std::span<uint8_t> scratch_bytes,
                  const CodecKernels& kernels, const CodecRows& rows) {
  const HalfScratch scratch(half, scratch_bytes);
  const size_t bits_at = 1 + ScaleBytes(half, keys), coded_at = bits_at + LowBitBytes(half, keys);
  const auto without_loss = [&] { return EncodeLossless(half, raw, out, scratch_bytes, kernels, rows); };
  if (coded_at >= MostLosslessBytes(half) || !Quantize(half, keys, raw.data(), out.data() + 1, scratch.nibbles, rows)) return without_loss();
  if (keys) kernels.take_low_bits(scratch.nibbles, half.values(), out.data() + bits_at);
  kernels.pack_nibbles(scratch.nibbles, half.values(), scratch.pairs.data());
  const size_t coded = HuffmanEncode(scratch.pairs, MostLosslessBytes(half) - coded_at, scratch.huffman);
  if (coded == 0) return without_loss();
  out[0] = static_cast<uint8_t>(KindOf(keys));
  std::memcpy(out.data() + coded_at, scratch.huffman.data(), coded);
  return coded_at + coded;
}

size_t DecodeInt4(const HalfShape& half, bool keys, std::span<const uint8_t> in, std::span<uint8_t> raw, std::span<uint8_t> scratch_bytes,
                  const CodecKernels& kernels, const CodecRows& rows) {
  if (in.empty()) return 0;
  if (in[0] != static_cast<uint8_t>(KindOf(keys))) return DecodeLossless(half, in, raw, scratch_bytes, kernels, rows);
  const HalfScratch scratch(half, scratch_bytes);
  const size_t bits_at = 1 + ScaleBytes(half, keys), coded_at = bits_at + LowBitBytes(half, keys);
  if (in.size() < coded_at) return 0;
  const size_t coded = HuffmanDecode(in.subspan(coded_at), scratch.pairs);
  if (coded == 0) return 0;
  kernels.unpack_nibbles(scratch.pairs.data(), half.values(), scratch.nibbles);
  if (keys) kernels.give_low_bits(in.data() + bits_at, half.values(), scratch.nibbles);
  Dequantize(half, keys, in.data() + 1, scratch.nibbles, raw.data(), rows);
  return coded_at + coded;
}

}  // namespace longshore
