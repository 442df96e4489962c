// A canonical Huffman code over bytes with lengths of at most 12 bits, in four bit streams that are decoded side by side: the
// lookup of one symbol takes longer than a processor needs to start the lookups of three others.
//
// Plane = 128 bytes of code lengths (two 4-bit lengths a byte, low half first; 0 = unused; the lengths fill the code space exactly)
// || 4 x u32 bytes of each stream || streams. Stream s holds symbols [s*m, (s+1)*m) of n, m = ceil(n / 4), the last ones
// the rest. A stream is read from the lowest bit of its first byte; codes are stored from their most significant bit; unused bits of
// the last byte are zero. All integers little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace longshore {

constexpr uint32_t kHuffmanMaxBits = 12;
constexpr size_t kHuffmanStreams = 4;
constexpr size_t kHuffmanHeaderBytes = 128 + 4 * kHuffmanStreams;

// Room for the longest stream of `symbols` bytes, and for the whole words it is written in.
constexpr size_t HuffmanStreamBound(size_t symbols) { return (symbols + kHuffmanStreams - 1) / kHuffmanStreams * kHuffmanMaxBits / 8 + 9; }

// Room that HuffmanEncode needs for `symbols` bytes.
constexpr size_t HuffmanBound(size_t symbols) { return kHuffmanHeaderBytes + kHuffmanStreams * HuffmanStreamBound(symbols); }

// Bytes written; 0 when they would be `limit` or more (then out holds rubbish, never more than HuffmanBound bytes of it).
// symbols: 1 to 2^31 of them.
size_t HuffmanEncode(std::span<const uint8_t> symbols, size_t limit, std::span<uint8_t> out);

// Fills `symbols` from the start of `in`; returns the bytes read, or 0 for bytes that no encoder writes. Takes time in proportion to
// the number of symbols whatever the bytes are, and reads nothing outside `in`.
size_t HuffmanDecode(std::span<const uint8_t> in, std::span<uint8_t> symbols);

}  // namespace longshore
