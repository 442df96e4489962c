#include "engine/kv/huffman.h"

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "engine/kv/huffman_lengths.h"
#include "test/check.h"

namespace longshore {
namespace {

std::vector<uint8_t> Encoded(std::span<const uint8_t> symbols) {
  std::vector<uint8_t> out(HuffmanBound(symbols.size()));
  out.resize(HuffmanEncode(symbols, SIZE_MAX, out));
  return out;
}

// Symbols whose probabilities fall by `ratio` from one to the next.
std::vector<uint8_t> Geometric(size_t count, double ratio, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> symbols(count);
  for (uint8_t& s : symbols) {
    const double u = (random() + 1.0) / 4294967297.0;
    s = static_cast<uint8_t>(std::min(255.0, std::floor(std::log(u) / std::log(ratio))));
  }
  return symbols;
}

// The slow obvious twin, from the format's text: a bit at a time, each code looked for among all symbols.
std::vector<uint8_t> TwinDecode(const std::vector<uint8_t>& in, size_t count) {
  std::array<uint32_t, 256> lengths, codes{};
  for (size_t s = 0; s < 256; s++) lengths[s] = in[s / 2] >> (4 * (s % 2)) & 15;
  uint32_t code = 0;
  for (uint32_t length = 1; length <= kHuffmanMaxBits; length++, code <<= 1) {
    for (size_t s = 0; s < 256; s++) {
      if (lengths[s] == length) codes[s] = code++;
    }
  }
  std::vector<uint8_t> symbols;
  size_t at = kHuffmanHeaderBytes;
  const size_t m = (count + 3) / 4;
  for (size_t stream = 0; stream < 4; stream++) {
    uint32_t size = 0;
    for (size_t i = 0; i < 4; i++) size |= uint32_t{in[128 + 4 * stream + i]} << (8 * i);
    size_t bit = 8 * at;
    for (size_t left = std::min(count, (stream + 1) * m) - std::min(count, stream * m); left > 0; left--) {
      uint32_t read = 0, length = 0, found = 256;
      while (found == 256 && length < kHuffmanMaxBits) {
        read = read << 1 | (in[bit / 8] >> (bit % 8) & 1);
        bit++, length++;
        for (uint32_t s = 0; s < 256; s++) {
          if (lengths[s] == length && codes[s] == read) found = s;
        }
      }
      symbols.push_back(static_cast<uint8_t>(found));
    }
    at += size;
  }
  return symbols;
}

TEST(gives_back_every_symbol_and_agrees_with_the_twin) {
  uint32_t seed = 1;
  for (const size_t count : {1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 64, 100, 1000, 12288}) {
    for (const double ratio : {0.01, 0.5, 0.9, 0.99, 0.9999}) {
      const auto symbols = Geometric(count, ratio, seed++);
      const auto encoded = Encoded(symbols);
      std::vector<uint8_t> back(count, 0xee);
      CHECK_EQ(HuffmanDecode(encoded, back), encoded.size());
      CHECK(back == symbols);
      if (count <= 1000) CHECK(TwinDecode(encoded, count) == symbols);
    }
  }
}

TEST(lengths_fill_the_code_space_whatever_the_counts) {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; round++) {
    std::array<uint32_t, 256> counts{};
    const uint32_t used = random() % 257;
    // Fibonacci-like counts make the deepest trees.
    uint64_t a = 1, b = 1;
    for (uint32_t i = 0; i < used; i++) {
      const uint32_t s = random() % 256;
      counts[s] = round % 3 == 0 ? static_cast<uint32_t>(std::min<uint64_t>(a, 1u << 30)) : round % 3 == 1 ? random() % 1000 : random() % 2;
      const uint64_t next = std::min<uint64_t>(a + b, 1u << 30);
      a = b, b = next;
    }
    const auto lengths = HuffmanLengths(counts);
    uint32_t space = 0;
    for (size_t s = 0; s < 256; s++) {
      CHECK(lengths[s] <= kHuffmanMaxBits);
      CHECK(counts[s] == 0 || lengths[s] > 0);
      if (lengths[s] > 0) space += 1u << (kHuffmanMaxBits - lengths[s]);
    }
    CHECK_EQ(space, 1u << kHuffmanMaxBits);
  }
}

TEST(stays_within_two_percent_of_the_entropy) {
  for (const double ratio : {0.9, 0.97, 0.99}) {
    const auto symbols = Geometric(24576, ratio, 3);
    std::array<double, 256> counts{};
    for (const uint8_t s : symbols) counts[s]++;
    double bits = 0;
    for (const double c : counts) bits -= c > 0 ? c * std::log2(c / 24576) : 0;
    CHECK(static_cast<double>((Encoded(symbols).size() - kHuffmanHeaderBytes) * 8) < 1.02 * bits);
  }
}

TEST(an_encoding_that_would_reach_the_limit_is_given_up) {
  const auto symbols = Geometric(1000, 0.9, 4);
  const size_t size = Encoded(symbols).size();
  std::vector<uint8_t> out(HuffmanBound(symbols.size()));
  CHECK_EQ(HuffmanEncode(symbols, size, out), 0u);
  CHECK_EQ(HuffmanEncode(symbols, size + 1, out), size);
}

// Every answer but "refused" must have read inside the input (the sanitizers watch) and filled all symbols.
TEST(hostile_bytes_are_refused_or_decoded_within_bounds) {
  std::mt19937 random(6);
  const auto symbols = Geometric(500, 0.9, 7);
  const auto encoded = Encoded(symbols);
  std::vector<uint8_t> back(symbols.size());
  for (size_t size = 0; size < encoded.size(); size++) {
    const std::vector<uint8_t> cut(encoded.begin(), encoded.begin() + static_cast<ptrdiff_t>(size));
    CHECK_EQ(HuffmanDecode(cut, back), 0u);
  }
  int refused = 0;
  for (int round = 0; round < 20000; round++) {
    auto broken = encoded;
    for (uint32_t flips = 1 + random() % 3; flips > 0; flips--) broken[random() % broken.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
    const size_t read = HuffmanDecode(broken, back);
    CHECK(read <= broken.size());
    refused += read == 0;
  }
  CHECK(refused > 5000);
  // A stream's size that reaches beyond everything.
  auto huge = encoded;
  for (size_t i = 128; i < kHuffmanHeaderBytes; i++) huge[i] = 0xff;
  CHECK_EQ(HuffmanDecode(huge, back), 0u);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
