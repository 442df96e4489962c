// The loops of the codecs over rows of values, compiled once per instruction set (codec_rows_<isa>.cc). Every set writes the same
// bytes: integer arithmetic, and IEEE operations that round exactly. Nothing here needs alignment.
#pragma once

#include <cstddef>
#include <cstdint>

namespace longshore {

// For one element type. `rows`: [tokens][channels] elements of one K or V head.
struct CodecRows {
  // int8 (docs/design/0001): `raw` is a whole block, `out`/`in` its encoding.
  void (*encode_int8)(uint32_t heads, uint32_t tokens, uint32_t channels, const uint8_t* raw, uint8_t* out);
  void (*decode_int8)(uint32_t heads, uint32_t tokens, uint32_t channels, const uint8_t* in, uint8_t* raw);

  // lossless. bases[c] = the largest exponent (8 bits) of channel c.
  void (*largest_exponents)(const uint8_t* rows, uint32_t tokens, uint32_t channels, uint8_t* bases);
  // steps[i] = min(15, bases[c] - exponent); rest[i] = sign << 7 | the mantissa's upper 7 bits; low[2i..] = the bits below them (f32 only).
  void (*split)(const uint8_t* rows, uint32_t tokens, uint32_t channels, const uint8_t* bases, uint8_t* steps, uint8_t* rest, uint8_t* low);
  // The reverse; where steps[i] is 15 the exponent is not known yet.
  void (*merge)(const uint8_t* steps, const uint8_t* rest, const uint8_t* low, uint32_t tokens, uint32_t channels, const uint8_t* bases, uint8_t* rows);

  // int4. least[c], most[c]: over the tokens; not a number where one of them is none.
  void (*channel_ranges)(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* least, float* most);
  // most[t] = max over channels of |x|; not a number where one is none.
  void (*token_magnitudes)(const uint8_t* rows, uint32_t tokens, uint32_t channels, float* most);
  // codes[t][c] = 16 + (x - zeros[c]) * inverses[c], rounded half to even, within [0, 31]; and back: zeros[c] + (code - 16) * steps[c].
  void (*quantize_keys)(const uint8_t* rows, uint32_t tokens, uint32_t channels, const float* zeros, const float* inverses, uint8_t* codes);
  void (*dequantize_keys)(const uint8_t* codes, uint32_t tokens, uint32_t channels, const float* zeros, const float* steps, uint8_t* rows);
  // codes[t][c] = 8 + x * inverses[t], within [1, 15]; and back: (code - 8) * steps[t].
  void (*quantize_values)(const uint8_t* rows, uint32_t tokens, uint32_t channels, const float* inverses, uint8_t* codes);
  void (*dequantize_values)(const uint8_t* codes, uint32_t tokens, uint32_t channels, const float* steps, uint8_t* rows);
};

struct CodecKernels {
  const char* isa;
  CodecRows bf16, f32;
  // pairs[i] = nibbles[2i] | nibbles[2i + 1] << 4; an odd last nibble is paired with 0. count: nibbles.
  void (*pack_nibbles)(const uint8_t* nibbles, size_t count, uint8_t* pairs);
  void (*unpack_nibbles)(const uint8_t* pairs, size_t count, uint8_t* nibbles);
  // Moves the lowest bit of each code of 5 bits into bits[i / 8], bit i % 8, and halves the code; and back.
  void (*take_low_bits)(uint8_t* codes, size_t count, uint8_t* bits);
  void (*give_low_bits)(const uint8_t* bits, size_t count, uint8_t* codes);
};

// "portable", "avx2" or "avx512"; "auto": the best this machine has. nullptr where it cannot run.
const CodecKernels* SelectCodecKernels(const char* isa);

}  // namespace longshore
