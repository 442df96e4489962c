// Retrieval kernels of sparse decode: 1-bit sketches against a query, the best scores, exact scores and values of single keys.
#pragma once

#include "kernels/elementwise.inl.h"
#include "kernels/kernels.h"

namespace longshore::kernels {
namespace {

// Of one block. Codes are unpacked once for kQueries queries.
template <class S, int kQueries>
LONGSHORE_VECTOR void ScanBlock(const SketchScan& p, uint32_t block, const SketchQuery* queries) {
  const uint8_t* codes = p.sketches[block];
  const auto* factors = reinterpret_cast<const uint16_t*>(codes + size_t{p.groups} * 64);
  const uint16_t* mean = factors + kKeyTile;
  alignas(64) uint16_t sums[kQueries][kKeyTile];
  const uint8_t* tables[kQueries];
  for (int q = 0; q < kQueries; ++q) tables[q] = queries[q].tables;
  S::template LookupSums<kQueries>(codes, tables, p.groups, sums);
  for (int q = 0; q < kQueries; ++q) {
    const SketchQuery& query = queries[q];
    auto product_with_mean = S::Zero();
    for (uint32_t i = 0; i < p.padded; i += 16) product_with_mean = S::MulAdd(S::LoadBf16(mean + i), S::Load(query.q + i), product_with_mean);
    const auto base = S::Set(S::SumLanes(product_with_mean)), bias = S::Set(query.bias), step = S::Set(query.step);
    float* scores = query.scores + size_t{block} * kKeyTile;
    auto best = S::Set(-__builtin_huge_valf());
    for (uint32_t i = 0; i < kKeyTile; i += 16) {
      const auto product = S::MulAdd(S::LoadU16(sums[q] + i), step, bias);
      const auto score = S::MulAdd(S::LoadF16(factors + i), product, base);
      S::Store(scores + i, score);
      best = S::Max(score, best);
    }
    S::Store(query.best + size_t{block} * 16, best);
  }
}

template <class S>
void ScanSketches(const SketchScan& p) {
  const size_t bytes = size_t{p.groups} * 64 + kKeyTile * 2 + p.padded * 2;
  for (uint32_t b = 0; b < p.blocks; ++b) {
    // Blocks of a sequence may lie anywhere in the pool.
    if (b + 2 < p.blocks)
      for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p.sketches[b + 2] + i);
    uint32_t q = 0;
    for (; q + 2 <= p.count; q += 2) ScanBlock<S, 2>(p, b, p.queries + q);
    if (q < p.count) ScanBlock<S, 1>(p, b, p.queries + q);
  }
}

template <class S>
uint32_t CountAtLeast(const float* x, uint32_t n, float least) {
  const auto t = S::Set(least);
  uint32_t count = 0;
  for (uint32_t i = 0; i < n; i += 16) count += static_cast<uint32_t>(__builtin_popcount(S::AtLeast(S::Load(x + i), t)));
  return count;
}

template <class S>
uint32_t ListAtLeast(const float* scores, const float* best, uint32_t blocks, float least, uint32_t room, uint32_t* out) {
  const auto t = S::Set(least);
  uint32_t count = 0;
  for (uint32_t b = 0; b < blocks && count + kKeyTile <= room; ++b) {
    if (S::AtLeast(S::Load(best + size_t{b} * 16), t) == 0) continue;
    for (uint32_t i = b * kKeyTile, end = i + kKeyTile; i < end; i += 16)
      for (uint32_t mask = S::AtLeast(S::Load(scores + i), t); mask != 0; mask &= mask - 1)
        out[count++] = i + static_cast<uint32_t>(__builtin_ctz(mask));
  }
  return count;
}

template <class S>
void DotBf16(const uint16_t* const* rows, uint32_t count, const float* q, uint32_t n, float* out) {
  for (uint32_t r = 0; r < count; ++r) {
    auto sum = S::Zero();
    for (uint32_t i = 0; i < n; i += 16) sum = S::MulAdd(S::LoadBf16(rows[r] + i), S::Load(q + i), sum);
    out[r] = S::SumLanes(sum);
    // The rows lie anywhere in the pool.
    if (r + 8 < count)
      for (uint32_t i = 0; i < n; i += 32) __builtin_prefetch(rows[r + 8] + i);
  }
}

template <class S>
void AttendKeyList(const AttendKeys& p) {
  const auto m = S::Set(p.m);
  float weights[16];
  auto total = S::Zero();
  for (uint32_t i = 0; i < p.count; i += 16) {
    const uint32_t n = p.count - i < 16 ? p.count - i : 16;
    const auto w = S::Keep(Exp2<S>(S::Sub(S::Load(p.scores + i), m)), static_cast<int>(n), S::Zero());
    total = S::Add(total, w);
    S::Store(weights, w);
    for (uint32_t d = 0; d < p.padded; d += 16) {
      auto o = S::Load(p.o + d);
      for (uint32_t j = 0; j < n; ++j) {
        // A key's values sit beside its neighbour's, channel by channel: first or second of each pair.
        const uint16_t* v = p.values[i + j];
        const bool second = (reinterpret_cast<uintptr_t>(v) & 2) != 0;
        const auto pairs = S::LoadPairs(v - second + 2 * d);
        o = S::MulAdd(S::Set(weights[j]), second ? S::Second(pairs) : S::First(pairs), o);
      }
      S::Store(p.o + d, o);
    }
  }
  *p.l += S::SumLanes(total);
}

}  // namespace
}  // namespace longshore::kernels
