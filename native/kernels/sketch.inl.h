// Retrieval kernels of sparse decode: 1-bit sketches against a query, the best scores, exact scores and values of single keys.
#pragma once

#include "kernels/elementwise.inl.h"
#include "kernels/kernels.h"

namespace longshore::kernels {
namespace {

// Codes are unpacked once for kQueries queries.
template <class S, int kQueries>
LONGSHORE_VECTOR void ScanQueries(const SketchScan& p, const SketchQuery* queries) {
  alignas(64) uint16_t sums[kQueries][kKeyTile];
  const uint8_t* tables[kQueries];
  for (int q = 0; q < kQueries; ++q) tables[q] = queries[q].tables;
  S::template LookupSums<kQueries>(p.codes, tables, p.groups, sums);
  for (int q = 0; q < kQueries; ++q) {
    const SketchQuery& query = queries[q];
    const auto base = S::Set(query.base), bias = S::Set(query.bias), step = S::Set(query.step);
    auto best = S::Set(-__builtin_huge_valf());
    for (uint32_t i = 0; i < kKeyTile; i += 16) {
      const auto product = S::MulAdd(S::LoadU16(sums[q] + i), step, bias);
      const auto score = S::MulAdd(S::LoadF16(p.factors + i), product, base);
      S::Store(query.scores + i, score);
      best = S::Max(score, best);
    }
    S::Store(query.best, best);
  }
}

template <class S>
void ScanSketches(const SketchScan& p) {
  uint32_t q = 0;
  for (; q + 2 <= p.count; q += 2) ScanQueries<S, 2>(p, p.queries + q);
  if (q < p.count) ScanQueries<S, 1>(p, p.queries + q);
}

template <class S>
uint32_t CountAtLeast(const float* x, uint32_t n, float least) {
  const auto t = S::Set(least);
  uint32_t count = 0;
  for (uint32_t i = 0; i < n; i += 16) count += static_cast<uint32_t>(__builtin_popcount(S::AtLeast(S::Load(x + i), t)));
  return count;
}

template <class S>
uint32_t ListAtLeast(const float* x, float least, uint32_t first, uint32_t* out) {
  const auto t = S::Set(least);
  uint32_t count = 0;
  for (uint32_t i = 0; i < kKeyTile; i += 16)
    for (uint32_t mask = S::AtLeast(S::Load(x + i), t); mask != 0; mask &= mask - 1)
      out[count++] = first + i + static_cast<uint32_t>(__builtin_ctz(mask));
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
    for (uint32_t j = 0; j < n; ++j) {
      // A key's values sit beside its neighbour's, channel by channel: first or second of each pair.
      const uint16_t* v = p.values[i + j];
      const bool second = (reinterpret_cast<uintptr_t>(v) & 2) != 0;
      const auto weight = S::Set(weights[j]);
      for (uint32_t d = 0; d < p.padded; d += 16) {
        const auto pairs = S::LoadPairs(v - second + 2 * d);
        S::Store(p.o + d, S::MulAdd(weight, second ? S::Second(pairs) : S::First(pairs), S::Load(p.o + d)));
      }
    }
  }
  *p.l += S::SumLanes(total);
}

}  // namespace
}  // namespace longshore::kernels
