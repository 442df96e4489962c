#include "engine/decode/nearest_keys.h"

#include <algorithm>
#include <limits>

#include "engine/formats/half.h"

namespace longshore {
namespace {

using kernels::kKeyTile;

constexpr uint32_t kRows = 64;  // queries of a task

// The best keys of one query so far: a list that is cut when it is full.
struct Best {
  struct One {
    float score;
    uint32_t key;
  };
  std::vector<One> list;
  float least = -std::numeric_limits<float>::infinity();

  void Cut(uint32_t count) {
    if (list.size() <= count) return;
    const auto end = list.begin() + static_cast<ptrdiff_t>(count);
    std::nth_element(list.begin(), end - 1, list.end(), Better);
    list.erase(end, list.end());
    least = std::min_element(list.begin(), list.end(), [](const One& a, const One& b) { return a.score < b.score; })->score;
  }
  static bool Better(const One& a, const One& b) { return a.score != b.score ? a.score > b.score : a.key < b.key; }
};

struct Place {
  uint32_t block, sample, head;
};

}  // namespace

void FindNearestKeys(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, const QuerySamples& samples, uint32_t group,
                     uint32_t kv_head, uint32_t count, const std::atomic<int32_t>* cancel, NearestKeys* out, std::vector<uint16_t>* queries) {
  const uint32_t d = range.pool->shape().head_dim, keys = static_cast<uint32_t>(range.blocks.size()) * kKeyTile;
  std::vector<Place> places;
  for (const uint32_t block : range.blocks)
    for (uint32_t s = 0; s < samples.per_block(); ++s)
      if (samples.Has(block, range.layer, s))
        for (uint32_t h = 0; h < group; ++h) places.push_back({block, s, kv_head * group + h});
  count = std::min(count, keys);
  out->samples = static_cast<uint32_t>(places.size());
  out->count = count;
  out->keys.assign(size_t{out->samples} * count, 0);
  const uint32_t padded = range.pool->padded();
  queries->assign(size_t{out->samples} * padded, 0);
  for (uint32_t s = 0; s < out->samples; ++s)
    std::copy_n(samples.at(places[s].block, range.layer, places[s].sample, places[s].head), d, &(*queries)[size_t{s} * padded]);
  threads.Run((out->samples + kRows - 1) / kRows, [&](uint32_t task, uint32_t) {
    const uint32_t first = task * kRows, rows = std::min(kRows, out->samples - first);
    std::vector<float> q(size_t{rows} * d), scores(size_t{rows} * kKeyTile);
    std::vector<uint16_t> q_bf16(size_t{rows} * d + 32);
    for (uint32_t r = 0; r < rows; ++r) {
      const Place& p = places[first + r];
      const uint16_t* from = samples.at(p.block, range.layer, p.sample, p.head);
      std::copy_n(from, d, &q_bf16[size_t{r} * d]);
      for (uint32_t c = 0; c < d; ++c) q[size_t{r} * d + c] = Bf16ToF32(from[c]);
    }
    std::vector<Best> best(rows);
    kernels::Attend a{};
    a.q = q.data();
    a.q_bf16 = q_bf16.data();
    a.rows = rows;
    a.group = 1;
    a.head_dim = d;
    a.padded = range.pool->padded();
    a.scores = scores.data();
    for (uint32_t b = 0; b < range.blocks.size(); ++b) {
      if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
      const void* k = range.pool->KTile(range.blocks[b], range.layer, kv_head);
      a.k_tiles = &k;
      kernels.score[static_cast<size_t>(kernels::KvKind::kBf16)](a, kKeyTile);
      for (uint32_t r = 0; r < rows; ++r) {
        const float* row = &scores[size_t{r} * kKeyTile];
        if (kernels.count_at_least(row, kKeyTile, best[r].least) == 0) continue;
        for (uint32_t t = 0; t < kKeyTile; ++t)
          if (row[t] >= best[r].least) best[r].list.push_back({row[t], b * kKeyTile + t});
        if (best[r].list.size() >= 2 * count + kKeyTile) best[r].Cut(count);
      }
    }
    for (uint32_t r = 0; r < rows; ++r) {
      best[r].Cut(count);
      std::sort(best[r].list.begin(), best[r].list.end(), Best::Better);
      for (uint32_t i = 0; i < count; ++i) out->keys[size_t{first + r} * count + i] = static_cast<uint16_t>(best[r].list[i].key);
    }
  });
}

}  // namespace longshore
