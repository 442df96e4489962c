#include "engine/kv/huffman_lengths.h"

#include <algorithm>

#include "engine/kv/huffman.h"

namespace longshore {
namespace {

struct Leaf {
  uint32_t count;
  uint8_t symbol;
};

// Ascending counts, equal ones in ascending symbols as they come: byte by byte, because 256 comparisons with branches that nobody can
// predict take longer than encoding a thousand symbols.
void SortByCount(Leaf* leaves, int n) {
  uint32_t most = 0;
  for (int i = 0; i < n; i++) most = std::max(most, leaves[i].count);
  Leaf sorted[256];
  for (uint32_t shift = 0; shift < 32 && most >> shift != 0; shift += 8) {
    uint32_t starts[257] = {};
    for (int i = 0; i < n; i++) starts[(leaves[i].count >> shift & 255) + 1]++;
    for (uint32_t digit = 0; digit < 256; digit++) starts[digit + 1] += starts[digit];
    for (int i = 0; i < n; i++) sorted[starts[leaves[i].count >> shift & 255]++] = leaves[i];
    std::copy(sorted, sorted + n, leaves);
  }
}

// Depths of Huffman's tree over ascending counts, computed in place (Moffat and Katajainen, 1995): weights become parents, parents
// become depths. depths[i] belongs to the i-th smallest count.
void Depths(const Leaf* leaves, int n, uint64_t* weights) {
  for (int i = 0; i < n; i++) weights[i] = leaves[i].count;
  int leaf = 0, root = 0;
  const auto smaller = [&](int next) -> uint64_t {
    if (leaf >= n || (root < next && weights[root] < weights[leaf])) {
      const uint64_t weight = weights[root];
      weights[root++] = static_cast<uint64_t>(next);
      return weight;
    }
    return weights[leaf++];
  };
  for (int next = 0; next < n - 1; next++) {
    const uint64_t first = smaller(next);
    weights[next] = first + smaller(next);
  }
  weights[n - 2] = 0;
  for (int i = n - 3; i >= 0; i--) weights[i] = weights[weights[i]] + 1;
  int available = 1, used = 0, inner = n - 2, out = n - 1;
  for (uint64_t depth = 0; available > 0; depth++) {
    while (inner >= 0 && weights[inner] == depth) used++, inner--;
    while (available > used) weights[out--] = depth, available--;
    available = 2 * used;
    used = 0;
  }
}

}  // namespace

std::array<uint8_t, 256> HuffmanLengths(const std::array<uint32_t, 256>& counts) {
  std::array<uint8_t, 256> lengths{};
  Leaf leaves[256];
  int n = 0;
  for (uint32_t s = 0; s < 256; s++) {
    if (counts[s] > 0) leaves[n++] = {counts[s], static_cast<uint8_t>(s)};
  }
  if (n < 2) {
    const uint8_t only = n == 0 ? 0 : leaves[0].symbol;
    lengths[only] = 1;
    lengths[only == 0 ? 1 : 0] = 1;
    return lengths;
  }
  SortByCount(leaves, n);
  uint64_t depths[256];
  Depths(leaves, n, depths);

  // Too deep leaves move up to the limit; what that takes from the code space is given back by lengthening the longest shorter codes.
  uint32_t of_length[kHuffmanMaxBits + 1] = {};
  for (int i = 0; i < n; i++) of_length[std::min<uint64_t>(depths[i], kHuffmanMaxBits)]++;
  uint32_t space = 0;
  for (uint32_t length = 1; length <= kHuffmanMaxBits; length++) space += of_length[length] << (kHuffmanMaxBits - length);
  for (; space > 1u << kHuffmanMaxBits; space--) {
    of_length[kHuffmanMaxBits]--;
    uint32_t shorter = kHuffmanMaxBits - 1;
    while (of_length[shorter] == 0) shorter--;
    of_length[shorter]--;
    of_length[shorter + 1] += 2;
  }
  int next = 0;
  for (uint32_t length = kHuffmanMaxBits; length >= 1; length--) {
    for (uint32_t i = 0; i < of_length[length]; i++) lengths[leaves[next++].symbol] = static_cast<uint8_t>(length);
  }
  return lengths;
}

}  // namespace longshore
