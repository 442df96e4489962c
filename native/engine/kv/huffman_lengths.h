// Code lengths of a length-limited Huffman code.
#pragma once

#include <array>
#include <cstdint>

namespace longshore {

// Lengths of 256 symbols by how often each occurs (not at all: 0), at most kHuffmanMaxBits, with Kraft's sum exactly 1. At least
// two symbols have a length, so that the sum can be 1: a lone symbol gets a partner that never occurs.
std::array<uint8_t, 256> HuffmanLengths(const std::array<uint32_t, 256>& counts);

}  // namespace longshore
