// One half of a block: its keys or its values, of one layer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/kv/huffman.h"

namespace longshore {

// [heads][tokens][channels] elements.
struct HalfShape {
  uint32_t heads = 0, tokens = 0, channels = 0, element_bytes = 0;

  size_t head_values() const { return size_t{tokens} * channels; }
  size_t values() const { return heads * head_values(); }
  size_t raw_bytes() const { return values() * element_bytes; }
};

// How a stored half is encoded: its first byte.
enum class HalfKind : uint8_t { kPlain = 0, kPlanes = 1, kKeys4 = 2, kValues4 = 3 };

// Working memory of one encoder or decoder, divided. [values] nibbles or codes, their pairs, and room for the pairs' Huffman plane.
struct HalfScratch {
  uint8_t* nibbles;
  std::span<uint8_t> pairs;
  std::span<uint8_t> huffman;

  static size_t Bytes(const HalfShape& half) {
    const size_t n = half.values(), m = (n + 1) / 2;
    return n + m + HuffmanBound(m);
  }

  HalfScratch(const HalfShape& half, std::span<uint8_t> bytes) {
    const size_t n = half.values(), m = (n + 1) / 2;
    nibbles = bytes.data();
    pairs = bytes.subspan(n, m);
    huffman = bytes.subspan(n + m, HuffmanBound(m));
  }
};

}  // namespace longshore
