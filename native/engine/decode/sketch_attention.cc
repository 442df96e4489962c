#include "engine/decode/sketch_attention.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace longshore {
namespace {

using kernels::kKeyTile;

constexpr uint32_t kScanBlocks = 64;        // of a task
constexpr uint32_t kQueriesOfScan = 8;      // heads whose queries are scanned with one call
constexpr uint32_t kGroupsOfBlock = 16;     // a block's keys fall into groups of 8 whose best score the scan reports
constexpr uint32_t kMaxEntry = 63;          // of a lookup table

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

// Floats in the order of their values as unsigned integers.
uint32_t Ordered(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
float FromOrdered(uint32_t u) { return std::bit_cast<float>(u & 0x80000000u ? u & 0x7fffffffu : ~u); }

}  // namespace

Status SketchAttention::Allocate(const Shape& shape, const DecodePolicy& policy, const KvPool& pool, uint32_t threads, uint32_t max_tokens) {
  policy_ = policy;
  if (policy.kind == DecodeKind::kDense) return Status::Ok();
  shape_ = shape;
  pool_ = &pool;
  group_ = shape.heads / shape.kv_heads;
  padded_ = pool.padded();
  if (Status s = index_.Allocate(pool); !s.ok()) return s;
  max_blocks_ = (max_tokens + kKeyTile - 1) / kKeyTile;
  const uint64_t wanted = std::max<uint64_t>(policy.min_rescore, static_cast<uint64_t>(std::ceil(static_cast<double>(policy.rescore) * max_tokens)));
  // Candidates trims its list to twice what is wanted, after whole groups of 8 were listed.
  max_candidates_ = static_cast<uint32_t>(RoundUp(std::min<uint64_t>(uint64_t{max_blocks_} * kKeyTile, 8 * wanted + kKeyTile), 16));
  const uint64_t row = RoundUp(padded_ * 4, 64), part = RoundUp((2 + padded_) * 4, 64), tile = kKeyTile * 4;
  const uint64_t per_thread = 2 * row + 2 * tile + 2 * part + uint64_t{max_candidates_} * (4 + 8 + 4) + 3 * 64;
  const uint64_t per_head = row + index_.groups() * 16 + 64 + uint64_t{max_blocks_} * (kKeyTile + kGroupsOfBlock) * 4;
  if (Status s = memory_.Allocate(threads * per_thread + shape.heads * per_head + 1024, "decode scratch"); !s.ok()) return s;
  Carver carver(memory_);
  queries_ = reinterpret_cast<float*>(carver.Take<uint8_t>(shape.heads * row));
  scores_ = carver.Take<float>(uint64_t{shape.heads} * max_blocks_ * kKeyTile);
  best_ = carver.Take<float>(uint64_t{shape.heads} * max_blocks_ * kGroupsOfBlock);
  tables_ = carver.Take<uint8_t>(uint64_t{shape.heads} * index_.groups() * 16);
  bias_step_ = reinterpret_cast<float*>(carver.Take<uint8_t>(RoundUp(uint64_t{shape.heads} * 8, 64)));
  scratch_.clear();
  for (uint32_t t = 0; t < threads; ++t) {
    Scratch& x = scratch_.emplace_back();
    x.row = reinterpret_cast<float*>(carver.Take<uint8_t>(row));
    x.row_bf16 = reinterpret_cast<uint16_t*>(carver.Take<uint8_t>(row));
    x.tile_scores = reinterpret_cast<float*>(carver.Take<uint8_t>(tile));
    x.probabilities = carver.Take<uint8_t>(tile);
    x.sum = reinterpret_cast<float*>(carver.Take<uint8_t>(part));
    x.part = reinterpret_cast<float*>(carver.Take<uint8_t>(part));
    x.rows = reinterpret_cast<const uint16_t**>(carver.Take<uint8_t>(uint64_t{max_candidates_} * 8));
    x.exact = carver.Take<float>(max_candidates_);
    x.listed = carver.Take<uint32_t>(max_candidates_);
  }
  return Status::Ok();
}

void SketchAttention::Plan(std::span<const AttentionItem> items) {
  dense_.clear();
  sparse_.clear();
  for (const AttentionItem& item : items) {
    const bool long_one = policy_.kind != DecodeKind::kDense && item.tokens == 1 && item.position + 1 >= policy_.min_tokens;
    const Range middle = long_one ? Middle(item) : Range{};
    (long_one && middle.first < middle.last ? sparse_ : dense_).push_back(item);
  }
}

SketchAttention::Range SketchAttention::Middle(const AttentionItem& item) const {
  const uint32_t keys = item.position + 1, sink = (policy_.sink_tokens + kKeyTile - 1) / kKeyTile;
  const uint32_t window = keys > policy_.window_tokens ? (keys - policy_.window_tokens) / kKeyTile : 0;
  // The token's own block is incomplete or has just been completed: it is never scanned.
  return {sink, std::min(window, item.position / kKeyTile), item.position / kKeyTile + 1};
}

void SketchAttention::BuildIndex(ThreadPool& threads, const AttentionItem& item, uint32_t layer, const std::atomic<int32_t>* cancel) {
  const Range middle = Middle(item);
  stale_.clear();
  for (uint32_t b = middle.first; b < middle.last; ++b)
    for (uint32_t head = 0; head < shape_.kv_heads; ++head)
      if (index_.Stale(item.block_table[b], layer, head)) stale_.emplace_back(item.block_table[b], head);
  threads.Run(static_cast<uint32_t>(stale_.size()), [&](uint32_t task, uint32_t) {
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    index_.Build(stale_[task].first, layer, stale_[task].second);
  });
}

// Scales a head's query and turns its rotation into tables of sums of four channels with every pattern of signs.
void SketchAttention::Prepare(const kernels::KernelTable&, uint32_t head, const float* q) {
  const uint32_t d = shape_.head_dim, groups = index_.groups();
  float* scaled = queries_ + head * RoundUp(padded_ * 4, 64) / 4;
  for (uint32_t c = 0; c < d; ++c) scaled[c] = q[c] * shape_.scale;
  std::array<float, 2 * kernels::kMaxHeadDim> rotated;
  index_.Rotate(scaled, rotated.data());
  float widest = 0.f, bias = 0.f;
  for (uint32_t g = 0; g < groups; ++g) {
    float width = 0.f;
    for (uint32_t i = 0; i < 4; ++i) width += std::fabs(rotated[4 * g + i]);
    widest = std::max(widest, width);
    bias -= width;
  }
  const float step = 2.f * widest / kMaxEntry, inverse = step > 0.f ? 1.f / step : 0.f;
  uint8_t* table = tables_ + size_t{head} * groups * 16;
  for (uint32_t g = 0; g < groups; ++g)
    for (uint32_t bits = 0; bits < 16; ++bits) {
      float above = 0.f;  // the sum of the four, above its least value
      for (uint32_t i = 0; i < 4; ++i) {
        const float x = rotated[4 * g + i];
        above += std::fabs(x) + ((bits >> i & 1) != 0 ? x : -x);
      }
      table[g * 16 + bits] = static_cast<uint8_t>(std::min<float>(above * inverse + 0.5f, kMaxEntry));
    }
  bias_step_[2 * head] = bias;
  bias_step_[2 * head + 1] = step;
}

void SketchAttention::Scan(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& middle, uint32_t layer, uint32_t kv_head, uint32_t first,
                           uint32_t last) {
  kernels::SketchScan scan{};
  scan.groups = index_.groups();
  std::array<kernels::SketchQuery, kQueriesOfScan> queries;
  scan.queries = queries.data();
  for (uint32_t b = first; b < last; ++b) {
    const uint32_t block = item.block_table[b];
    scan.codes = index_.codes(block, layer, kv_head);
    scan.factors = index_.factors(block, layer, kv_head);
    const uint16_t* mean = index_.mean(block, layer, kv_head);
    for (uint32_t head = kv_head * group_, end = head + group_; head < end; head += scan.count) {
      scan.count = std::min(end - head, kQueriesOfScan);
      for (uint32_t i = 0; i < scan.count; ++i) {
        const size_t row = size_t{head + i} * max_blocks_ + (b - middle.first);
        kernels::SketchQuery& q = queries[i];
        kernels.dot_bf16(&mean, 1, queries_ + (head + i) * RoundUp(padded_ * 4, 64) / 4, padded_, &q.base);
        q.tables = tables_ + size_t{head + i} * scan.groups * 16;
        q.bias = bias_step_[2 * (head + i)];
        q.step = bias_step_[2 * (head + i) + 1];
        q.scores = scores_ + row * kKeyTile;
        q.best = best_ + row * kGroupsOfBlock;
        if (policy_.kind == DecodeKind::kBlockTopk) best_[size_t{head + i} * max_blocks_ * kGroupsOfBlock + (b - middle.first)] = q.base;
      }
      if (policy_.kind == DecodeKind::kSketchTopk) kernels.scan_sketches(scan);
    }
  }
}

// The keys, as places behind middle.first, whose estimates are best: at least `wanted` where there are so many groups, in order.
uint32_t SketchAttention::Candidates(const kernels::KernelTable& kernels, const Range& middle, uint32_t head, uint32_t wanted, Scratch& scratch) const {
  const uint32_t blocks = middle.last - middle.first, groups = blocks * kGroupsOfBlock;
  const float* best = best_ + size_t{head} * max_blocks_ * kGroupsOfBlock;
  const float* scores = scores_ + size_t{head} * max_blocks_ * kKeyTile;
  if (wanted >= blocks * kKeyTile) {
    std::iota(scratch.listed, scratch.listed + blocks * kKeyTile, 0u);
    return blocks * kKeyTile;
  }
  wanted = std::min(wanted, groups);
  // Every group whose best reaches the threshold holds a key that does.
  uint32_t low = Ordered(-std::numeric_limits<float>::infinity()), high = Ordered(std::numeric_limits<float>::infinity());
  while (high - low > 1) {
    const uint32_t mid = low + (high - low) / 2;
    const uint32_t count = kernels.count_at_least(best, groups, FromOrdered(mid));
    (count >= wanted ? low : high) = mid;
    if (count >= wanted && count <= wanted + wanted / 16) break;
  }
  const float least = FromOrdered(low);
  uint32_t count = 0;
  for (uint32_t b = 0; b < blocks && count + kKeyTile <= max_candidates_; ++b) {
    const float* block_best = best + size_t{b} * kGroupsOfBlock;
    if (kernels.count_at_least(block_best, kGroupsOfBlock, least) == 0) continue;
    count += kernels.list_at_least(scores + size_t{b} * kKeyTile, least, b * kKeyTile, scratch.listed + count);
  }
  if (count > 2 * wanted) {
    const auto better = [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; };
    std::nth_element(scratch.listed, scratch.listed + wanted, scratch.listed + count, better);
    count = wanted;
    std::sort(scratch.listed, scratch.listed + count);
  }
  return count;
}

// Adds the listed tiles of the sequence to scratch.sum (m, l, o of the row), which *started tells from an empty one.
void SketchAttention::AttendTiles(const kernels::KernelTable& kernels, const AttentionItem& item, uint32_t layer, uint32_t head, std::span<const uint32_t> tiles,
                                  Scratch& scratch, bool* started) const {
  kernels::Attend a{};
  a.q = scratch.row;
  a.q_bf16 = scratch.row_bf16;
  a.rows = a.group = 1;
  a.position = item.position;
  a.head_dim = shape_.head_dim;
  a.padded = padded_;
  a.scores = scratch.tile_scores;
  a.probabilities = scratch.probabilities;
  for (size_t at = 0; at < tiles.size(); at += kSplitTiles) {
    const void *k_tiles[kSplitTiles], *v_tiles[kSplitTiles];
    uint32_t first_keys[kSplitTiles];
    a.tiles = static_cast<uint32_t>(std::min<size_t>(kSplitTiles, tiles.size() - at));
    for (uint32_t t = 0; t < a.tiles; ++t) {
      first_keys[t] = tiles[at + t] * kKeyTile;
      k_tiles[t] = pool_->KTile(item.block_table[tiles[at + t]], layer, head / group_);
      v_tiles[t] = pool_->VTile(item.block_table[tiles[at + t]], layer, head / group_);
    }
    a.first_keys = first_keys;
    a.k_tiles = k_tiles;
    a.v_tiles = v_tiles;
    float* to = *started ? scratch.part : scratch.sum;
    a.m = to;
    a.l = to + 1;
    a.o = to + 2;
    kernels.attend[static_cast<size_t>(kernels::KvKind::kBf16)](a);
    if (*started) kernels.merge(scratch.sum, scratch.sum + 1, scratch.sum + 2, a.m, a.l, a.o, 1, padded_);
    *started = true;
  }
}

void SketchAttention::Attend(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& middle, uint32_t layer, uint32_t head, Scratch& scratch,
                             float* out) {
  std::memcpy(scratch.row, queries_ + head * RoundUp(padded_ * 4, 64) / 4, padded_ * sizeof(float));
  kernels.to_bf16(scratch.row, padded_, scratch.row_bf16);
  if (policy_.kind == DecodeKind::kBlockTopk) AttendBlocks(kernels, item, middle, layer, head, scratch);
  else AttendKeys(kernels, item, middle, layer, head, scratch);
  const float inverse = 1.f / scratch.sum[1];
  for (uint32_t c = 0; c < shape_.head_dim; ++c) out[c] = scratch.sum[2 + c] * inverse;
}

void SketchAttention::Count(const AttentionItem& item, const Range& middle, uint32_t head, uint64_t scan_bytes, uint64_t own_bytes) {
  const uint64_t key_and_value = 4 * uint64_t{shape_.head_dim}, tiles = middle.first + (middle.tiles - middle.last);
  counts_.keys += item.position + 1;
  counts_.bytes += own_bytes;
  if (head % group_ != 0) return;
  counts_.bytes += scan_bytes + tiles * kKeyTile * key_and_value;
  counts_.dense_bytes += uint64_t{middle.tiles} * kKeyTile * key_and_value;
}

void SketchAttention::AttendBlocks(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& middle, uint32_t layer, uint32_t head,
                                   Scratch& scratch) {
  const uint32_t blocks = middle.last - middle.first;
  const uint32_t wanted = std::clamp(static_cast<uint32_t>(std::ceil(policy_.blocks * static_cast<float>(blocks))), 1u, blocks);
  const float* scores = best_ + size_t{head} * max_blocks_ * kGroupsOfBlock;
  std::vector<uint32_t>& tiles = scratch.tiles;
  tiles.resize(blocks);
  std::iota(tiles.begin(), tiles.end(), 0u);
  std::nth_element(tiles.begin(), tiles.begin() + (wanted - 1), tiles.end(), [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  tiles.resize(wanted);
  for (uint32_t& t : tiles) t += middle.first;
  for (uint32_t t = 0; t < middle.first; ++t) tiles.push_back(t);
  for (uint32_t t = middle.last; t < middle.tiles; ++t) tiles.push_back(t);
  std::sort(tiles.begin(), tiles.end());
  bool started = false;
  AttendTiles(kernels, item, layer, head, tiles, scratch, &started);
  counts_.kept += uint64_t{wanted} * kKeyTile;
  Count(item, middle, head, uint64_t{blocks} * index_.row_bytes(), uint64_t{wanted} * kKeyTile * 4 * shape_.head_dim);
}

void SketchAttention::AttendKeys(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& middle, uint32_t layer, uint32_t head, Scratch& scratch) {
  const uint32_t kv_head = head / group_;
  const float* q = scratch.row;
  float* sum = scratch.sum;
  scratch.tiles.clear();
  for (uint32_t t = 0; t < middle.first; ++t) scratch.tiles.push_back(t);
  for (uint32_t t = middle.last; t < middle.tiles; ++t) scratch.tiles.push_back(t);
  bool started = false;
  AttendTiles(kernels, item, layer, head, scratch.tiles, scratch, &started);
  const uint32_t keys = (middle.last - middle.first) * kKeyTile;
  const uint32_t wanted = std::max(policy_.min_rescore, static_cast<uint32_t>(std::ceil(policy_.rescore * static_cast<float>(keys))));
  const uint32_t count = Candidates(kernels, middle, head, wanted, scratch);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t block = item.block_table[middle.first + scratch.listed[i] / kKeyTile];
    scratch.rows[i] = index_.key(block, layer, kv_head, scratch.listed[i] % kKeyTile);
  }
  kernels.dot_bf16(scratch.rows, count, q, padded_, scratch.exact);
  float m = sum[0];
  for (uint32_t i = 0; i < count; ++i) m = std::max(m, scratch.exact[i]);
  // What is lighter than its even share of the mass that may be lost: all of it together holds less.
  const float cut = m - std::log2(static_cast<float>(std::max(1u, count)) / (1.f - policy_.keep));
  uint32_t kept = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (scratch.exact[i] < cut) continue;
    const uint32_t slot = scratch.listed[i] % kKeyTile, block = item.block_table[middle.first + scratch.listed[i] / kKeyTile];
    const auto* tile = static_cast<const uint16_t*>(pool_->VTile(block, layer, kv_head));
    scratch.exact[kept] = scratch.exact[i];
    scratch.rows[kept++] = tile + size_t{slot / 2} * padded_ * 2 + slot % 2;
  }
  for (uint32_t i = kept; i < RoundUp(kept, 16); ++i) scratch.exact[i] = 0.f;
  float* part = scratch.part;
  part[0] = m;
  part[1] = 0.f;
  std::memset(part + 2, 0, padded_ * sizeof(float));
  kernels.attend_keys({scratch.exact, scratch.rows, kept, padded_, m, part + 1, part + 2});
  const float kept_mass = part[1];
  kernels.merge(sum, sum + 1, sum + 2, part, part + 1, part + 2, 1, padded_);
  counts_.scanned += keys;
  counts_.rescored += count;
  counts_.kept += kept;
  Count(item, middle, head, static_cast<uint64_t>(index_.scan_bytes_per_key() * keys), uint64_t{count} * index_.row_bytes() + kept * 2 * uint64_t{shape_.head_dim});
  if (policy_.measure) {
    const double missed = MiddleMass(kernels, item, middle, layer, head, m) - static_cast<double>(kept_mass);
    const double attended = static_cast<double>(sum[1]) * std::exp2(static_cast<double>(sum[0] - m));
    counts_.mass_kept += attended / (attended + std::max(0.0, missed));
    counts_.measured++;
  }
}

// Sum of 2^(score - m) over all keys between sink and window.
double SketchAttention::MiddleMass(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& middle, uint32_t layer, uint32_t head, float m) const {
  const float* q = queries_ + head * RoundUp(padded_ * 4, 64) / 4;
  std::array<const uint16_t*, kKeyTile> rows;
  std::array<float, kKeyTile> exact;
  double mass = 0;
  for (uint32_t b = middle.first; b < middle.last; ++b) {
    for (uint32_t t = 0; t < kKeyTile; ++t) rows[t] = index_.key(item.block_table[b], layer, head / group_, t);
    kernels.dot_bf16(rows.data(), kKeyTile, q, padded_, exact.data());
    for (const float s : exact) mass += std::exp2(static_cast<double>(s - m));
  }
  return mass;
}

void SketchAttention::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
                          size_t out_stride, const std::atomic<int32_t>* cancel) {
  const auto cancelled = [&] { return cancel && cancel->load(std::memory_order_relaxed) != 0; };
  for (const AttentionItem& item : sparse_) {
    if (cancelled()) return;
    const Range middle = Middle(item);
    BuildIndex(threads, item, layer, cancel);
    const float* row = q + item.first_row * q_stride;
    for (uint32_t head = 0; head < shape_.heads; ++head) Prepare(kernels, head, row + size_t{head} * shape_.head_dim);
    const uint32_t ranges = (middle.last - middle.first + kScanBlocks - 1) / kScanBlocks;
    threads.Run(ranges * shape_.kv_heads, [&](uint32_t task, uint32_t) {
      if (cancelled()) return;
      const uint32_t first = middle.first + task / shape_.kv_heads * kScanBlocks;
      Scan(kernels, item, middle, layer, task % shape_.kv_heads, first, std::min(first + kScanBlocks, middle.last));
    });
    threads.Run(shape_.heads, [&](uint32_t head, uint32_t thread) {
      if (cancelled()) return;
      Attend(kernels, item, middle, layer, head, scratch_[thread], out + item.first_row * out_stride + size_t{head} * shape_.head_dim);
    });
  }
}

}  // namespace longshore
