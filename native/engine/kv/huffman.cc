#include "engine/kv/huffman.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "engine/kv/huffman_lengths.h"
#include "engine/kv/little_endian.h"

namespace longshore {
namespace {

constexpr uint32_t kCodeSpace = 1u << kHuffmanMaxBits;

uint32_t Reversed(uint32_t code, uint32_t bits) {
  uint32_t reversed = 0;
  for (uint32_t i = 0; i < bits; i++) reversed |= (code >> i & 1) << (bits - 1 - i);
  return reversed;
}

// The first code of each length; symbols of a length take consecutive codes in ascending order.
std::array<uint32_t, kHuffmanMaxBits + 1> FirstCodes(const std::array<uint8_t, 256>& lengths) {
  uint32_t of_length[kHuffmanMaxBits + 1] = {};
  for (const uint8_t length : lengths) of_length[length]++;
  std::array<uint32_t, kHuffmanMaxBits + 1> first{};
  for (uint32_t length = 2; length <= kHuffmanMaxBits; length++) first[length] = (first[length - 1] + of_length[length - 1]) << 1;
  return first;
}

std::array<uint32_t, 256> Histogram(std::span<const uint8_t> symbols) {
  // Eight tables: an increment that finds its counter in a store that is still under way waits for it.
  uint32_t parts[8][256] = {};
  size_t i = 0;
  for (; i + 8 <= symbols.size(); i += 8) {
    const uint64_t eight = LoadU64(symbols.data() + i);
    for (size_t k = 0; k < 8; k++) parts[k][eight >> (8 * k) & 255]++;
  }
  for (; i < symbols.size(); i++) parts[0][symbols[i]]++;
  std::array<uint32_t, 256> counts{};
  for (const auto& part : parts) {
    for (size_t s = 0; s < 256; s++) counts[s] += part[s];
  }
  return counts;
}

std::span<const uint8_t> Segment(std::span<const uint8_t> symbols, size_t stream) {
  const size_t m = (symbols.size() + kHuffmanStreams - 1) / kHuffmanStreams;
  const size_t begin = std::min(symbols.size(), stream * m);
  return symbols.subspan(begin, std::min(m, symbols.size() - begin));
}

// One stream being written. codes[s] = reversed code | length << 16.
struct StreamWriter {
  uint8_t* out;
  uint64_t word = 0;
  uint32_t bits = 0;  // below 8 after each flush

  void Put(uint32_t code) {
    word |= uint64_t{code & 0xffff} << bits;
    bits += code >> 16;
  }
  void Flush() {
    StoreU64(out, word);
    out += bits >> 3;
    word >>= bits & ~7u;
    bits &= 7;
  }
  void PutRest(std::span<const uint8_t> symbols, const uint32_t* codes) {
    for (const uint8_t symbol : symbols) {
      Put(codes[symbol]);
      Flush();
    }
    if (bits > 0) *out++ = static_cast<uint8_t>(word);
  }
};

// Writes two streams side by side: each waits for its own last shift only. Both outputs have HuffmanStreamBound bytes of room; the ends.
std::array<uint8_t*, 2> EncodeTwo(std::span<const uint8_t> a, std::span<const uint8_t> b, const uint32_t* codes, uint8_t* out_a, uint8_t* out_b) {
  StreamWriter first{out_a}, second{out_b};
  const size_t together = std::min(a.size(), b.size()) / 4 * 4;
  for (size_t i = 0; i < together; i += 4) {
    for (size_t k = 0; k < 4; k++) {
      first.Put(codes[a[i + k]]);
      second.Put(codes[b[i + k]]);
    }
    first.Flush();
    second.Flush();
  }
  first.PutRest(a.subspan(together), codes);
  second.PutRest(b.subspan(together), codes);
  return {first.out, second.out};
}

bool ReadLengths(const uint8_t* in, std::array<uint8_t, 256>* lengths) {
  uint32_t space = 0;
  for (size_t s = 0; s < 256; s++) {
    const uint8_t length = in[s / 2] >> (s % 2 * 4) & 15;
    if (length > kHuffmanMaxBits) return false;
    (*lengths)[s] = length;
    if (length > 0) space += kCodeSpace >> length;
  }
  return space == kCodeSpace;
}

// table[next 12 bits] = symbol << 8 | length.
void FillTable(const std::array<uint8_t, 256>& lengths, uint16_t* table) {
  auto next = FirstCodes(lengths);
  for (uint32_t s = 0; s < 256; s++) {
    const uint32_t length = lengths[s];
    if (length == 0) continue;
    const auto entry = static_cast<uint16_t>(s << 8 | length);
    for (uint32_t slot = Reversed(next[length]++, length); slot < kCodeSpace; slot += 1u << length) table[slot] = entry;
  }
}

struct Stream {
  uint64_t bit = 0;  // from the start of all streams
  uint64_t end = 0;  // in bits
  uint8_t* out = nullptr;
  size_t left = 0;
};

// 12 bits from `bit`, zeros after the last byte.
uint32_t PeekNearEnd(std::span<const uint8_t> bytes, uint64_t bit) {
  uint32_t word = 0;
  for (uint64_t i = 0; i < 3 && bit / 8 + i < bytes.size(); i++) word |= uint32_t{bytes[bit / 8 + i]} << (8 * i);
  return word >> (bit % 8) & (kCodeSpace - 1);
}

void DecodeTogether(std::span<const uint8_t> bytes, const uint16_t* table, Stream* streams) {
  constexpr size_t kStep = 4;  // 4 codes of 12 bits and up to 7 bits before them fit a word
  const uint8_t* const base = bytes.data();
  if (bytes.size() < 8) return;
  const uint64_t last = (bytes.size() - 8) * 8;
  uint64_t b0 = streams[0].bit, b1 = streams[1].bit, b2 = streams[2].bit, b3 = streams[3].bit;
  uint8_t *o0 = streams[0].out, *o1 = streams[1].out, *o2 = streams[2].out, *o3 = streams[3].out;
  size_t steps = streams[3].left;
  for (size_t s = 0; s < 3; s++) steps = std::min(steps, streams[s].left);
  steps /= kStep;
  size_t done = 0;
  const auto decode = [&](uint64_t word, uint8_t* out) -> uint32_t {
    uint32_t sum = 0, symbols = 0;
    for (size_t k = 0; k < kStep; k++) {
      const uint32_t entry = table[word & (kCodeSpace - 1)];
      word >>= entry & 63;
      sum += entry & 63;
      symbols |= (entry >> 8) << (8 * k);
    }
    StoreU32(out, symbols);
    return sum;
  };
  // Each stream's cursor may run into the next one's bytes when the input lies; only the end of all bytes must not be passed.
  while (done < steps && b0 <= last && b1 <= last && b2 <= last && b3 <= last) {
    const uint64_t w0 = LoadU64(base + (b0 >> 3)) >> (b0 & 7), w1 = LoadU64(base + (b1 >> 3)) >> (b1 & 7);
    const uint64_t w2 = LoadU64(base + (b2 >> 3)) >> (b2 & 7), w3 = LoadU64(base + (b3 >> 3)) >> (b3 & 7);
    b0 += decode(w0, o0);
    b1 += decode(w1, o1);
    b2 += decode(w2, o2);
    b3 += decode(w3, o3);
    o0 += kStep, o1 += kStep, o2 += kStep, o3 += kStep;
    done++;
  }
  const uint64_t bits[] = {b0, b1, b2, b3};
  for (size_t s = 0; s < kHuffmanStreams; s++) {
    streams[s].bit = bits[s];
    streams[s].out += done * kStep;
    streams[s].left -= done * kStep;
  }
}

}  // namespace

size_t HuffmanEncode(std::span<const uint8_t> symbols, size_t limit, std::span<uint8_t> out) {
  assert(!symbols.empty() && out.size() >= HuffmanBound(symbols.size()));
  const auto counts = Histogram(symbols);
  const auto lengths = HuffmanLengths(counts);
  uint64_t bits = 0;
  for (size_t s = 0; s < 256; s++) bits += uint64_t{counts[s]} * lengths[s];
  if (kHuffmanHeaderBytes + bits / 8 >= limit) return 0;
  for (size_t s = 0; s < 256; s += 2) out[s / 2] = static_cast<uint8_t>(lengths[s] | lengths[s + 1] << 4);
  uint32_t codes[256];
  auto next = FirstCodes(lengths);
  for (size_t s = 0; s < 256; s++) {
    const uint32_t length = lengths[s];
    codes[s] = length == 0 ? 0 : Reversed(next[length]++, length) | length << 16;
  }
  size_t at = kHuffmanHeaderBytes;
  const size_t room = HuffmanStreamBound(symbols.size());
  for (size_t s = 0; s < kHuffmanStreams; s += 2) {
    uint8_t* const slots[] = {out.data() + kHuffmanHeaderBytes + s * room, out.data() + kHuffmanHeaderBytes + (s + 1) * room};
    const auto ends = EncodeTwo(Segment(symbols, s), Segment(symbols, s + 1), codes, slots[0], slots[1]);
    for (size_t k = 0; k < 2; k++) {
      const auto size = static_cast<size_t>(ends[k] - slots[k]);
      StoreU32(out.data() + 128 + 4 * (s + k), static_cast<uint32_t>(size));
      std::memmove(out.data() + at, slots[k], size);
      at += size;
    }
  }
  return at < limit ? at : 0;
}

size_t HuffmanDecode(std::span<const uint8_t> in, std::span<uint8_t> symbols) {
  if (in.size() < kHuffmanHeaderBytes) return 0;
  std::array<uint8_t, 256> lengths;
  if (!ReadLengths(in.data(), &lengths)) return 0;
  uint16_t table[kCodeSpace];
  FillTable(lengths, table);

  Stream streams[kHuffmanStreams];
  uint64_t end = 0;
  for (size_t s = 0; s < kHuffmanStreams; s++) {
    const auto segment = Segment(symbols, s);
    streams[s] = {end * 8, 0, symbols.data() + (segment.data() - symbols.data()), segment.size()};
    end += LoadU32(in.data() + 128 + 4 * s);
    streams[s].end = end * 8;
  }
  if (end > in.size() - kHuffmanHeaderBytes) return 0;
  const auto bytes = in.subspan(kHuffmanHeaderBytes, end);
  DecodeTogether(bytes, table, streams);
  for (Stream& stream : streams) {
    for (; stream.left > 0; stream.left--) {
      const uint32_t entry = table[PeekNearEnd(bytes, stream.bit)];
      *stream.out++ = static_cast<uint8_t>(entry >> 8);
      stream.bit += entry & 63;
    }
    // Exactly its own bits, and nothing in the last byte's unused ones.
    if (stream.bit > stream.end || stream.end - stream.bit >= 8) return 0;
    if (stream.bit < stream.end && bytes[stream.bit / 8] >> (stream.bit % 8) != 0) return 0;
  }
  return kHuffmanHeaderBytes + end;
}

}  // namespace longshore
