// What a query head attends to once its blocks are scanned.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/decode/sketch_attention.h"

namespace longshore {
namespace {

using kernels::kKeyTile;

constexpr uint32_t kSampledGroups = 512;  // that narrow the search for a threshold
constexpr uint32_t kGuesses = 6;

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

// Floats in the order of their values as unsigned integers.
uint32_t Ordered(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
float FromOrdered(uint32_t u) { return std::bit_cast<float>(u & 0x80000000u ? u & 0x7fffffffu : ~u); }

// Ordered floats, and how many numbers reach each: at least as many as are wanted the low one, fewer the high one.
struct Bracket {
  uint32_t low = Ordered(-std::numeric_limits<float>::infinity()), high = Ordered(std::numeric_limits<float>::infinity());
  uint32_t reach_low, reach_high = 0;
};

// Narrows until at least `wanted` and at most a sixteenth more of x[0, n) reach the low end. The first `guesses` steps suppose that the
// numbers lie evenly between the ends.
float Narrow(const kernels::KernelTable& kernels, const float* x, uint32_t n, uint32_t wanted, Bracket b, uint32_t guesses) {
  while (b.high - b.low > 1 && b.reach_low > wanted + wanted / 16) {
    const uint64_t width = b.high - b.low;
    uint64_t step = width / 2;
    if (guesses > 0) {
      step = std::clamp(width * (b.reach_low - wanted - wanted / 32) / (b.reach_low - b.reach_high), width / 8, width - width / 8);
      guesses--;
    }
    const uint32_t mid = b.low + static_cast<uint32_t>(std::clamp<uint64_t>(step, 1, width - 1));
    const uint32_t count = kernels.count_at_least(x, n, FromOrdered(mid));
    (count >= wanted ? b.low : b.high) = mid;
    (count >= wanted ? b.reach_low : b.reach_high) = count;
  }
  return FromOrdered(b.low);
}

}  // namespace

bool SketchAttention::Measured(const Task& task) const {
  return policy_.measure_every > 0 && task.item.position % policy_.measure_every == 0;
}

void SketchAttention::Attend(const Task& task, uint32_t i, Scratch& scratch, float* out) {
  std::memcpy(scratch.row, task.lane.queries + size_t{i} * padded_, padded_ * sizeof(float));
  task.kernels.to_bf16(scratch.row, padded_, scratch.row_bf16);
  if (policy_.kind == DecodeKind::kBlockTopk) AttendBlocks(task, i, scratch);
  else AttendKeys(task, i, scratch);
  const float inverse = 1.f / scratch.sum[1];
  for (uint32_t c = 0; c < shape_.head_dim; ++c) out[c] = scratch.sum[2 + c] * inverse;
}

// What at least `wanted` groups of 8 keys reach with their best, and few more.
float SketchAttention::Threshold(const Task& task, uint32_t i, uint32_t wanted, float* sample) const {
  const float* best = task.lane.best + size_t{i} * max_blocks_ * kSketchGroups;
  const uint32_t groups = task.blocks() * kSketchGroups;
  Bracket all{.reach_low = groups};
  if (groups < 4 * kSampledGroups) return Narrow(task.kernels, best, groups, wanted, all, 0);
  const uint32_t sampled_blocks = kSampledGroups / kSketchGroups;
  for (uint32_t b = 0; b < sampled_blocks; ++b)
    std::memcpy(sample + b * kSketchGroups, best + uint64_t{b} * task.blocks() / sampled_blocks * kSketchGroups, kSketchGroups * sizeof(float));
  const uint32_t share = static_cast<uint32_t>(uint64_t{wanted} * kSampledGroups / groups);
  const Bracket sampled{.reach_low = kSampledGroups};
  const float below = Narrow(task.kernels, sample, kSampledGroups, std::min(share + share / 2 + 4, kSampledGroups), sampled, 0);
  const float above = Narrow(task.kernels, sample, kSampledGroups, share / 2 + 1, sampled, 0);
  for (const float t : {below, above}) {
    const uint32_t count = task.kernels.count_at_least(best, groups, t);
    (count >= wanted ? all.low : all.high) = Ordered(t);
    (count >= wanted ? all.reach_low : all.reach_high) = count;
    if (count < wanted) break;
  }
  return Narrow(task.kernels, best, groups, wanted, all, kGuesses);
}

// The keys, as places behind middle.first, whose estimates are best: at least `wanted` where there are so many groups, in order.
uint32_t SketchAttention::Candidates(const Task& task, uint32_t i, uint32_t wanted, Scratch& scratch) const {
  const uint32_t blocks = task.blocks();
  const float* best = task.lane.best + size_t{i} * max_blocks_ * kSketchGroups;
  const float* scores = task.lane.scores + size_t{i} * max_blocks_ * kKeyTile;
  if (wanted >= blocks * kKeyTile) {
    std::iota(scratch.listed, scratch.listed + blocks * kKeyTile, 0u);
    return blocks * kKeyTile;
  }
  // Every group whose best reaches the threshold holds a key that does.
  wanted = std::min(wanted, blocks * kSketchGroups);
  const float least = Threshold(task, i, wanted, scratch.exact);
  const uint32_t count = task.kernels.list_at_least(scores, best, blocks, least, max_candidates_, scratch.listed);
  if (count <= 2 * wanted) return count;
  const auto better = [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; };
  std::nth_element(scratch.listed, scratch.listed + wanted, scratch.listed + count, better);
  std::sort(scratch.listed, scratch.listed + wanted);
  return wanted;
}

// Adds the listed tiles of the sequence to scratch.sum (m, l, o of the row), which *started tells from an empty one.
void SketchAttention::AttendTiles(const Task& task, std::span<const uint32_t> tiles, Scratch& scratch, bool* started) const {
  kernels::Attend a{};
  a.q = scratch.row;
  a.q_bf16 = scratch.row_bf16;
  a.rows = a.group = 1;
  a.position = task.item.position;
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
      k_tiles[t] = pool_->KTile(task.item.block_table[tiles[at + t]], task.layer, task.kv_head);
      v_tiles[t] = pool_->VTile(task.item.block_table[tiles[at + t]], task.layer, task.kv_head);
    }
    a.first_keys = first_keys;
    a.k_tiles = k_tiles;
    a.v_tiles = v_tiles;
    float* to = *started ? scratch.part : scratch.sum;
    a.m = to;
    a.l = to + 1;
    a.o = to + 2;
    task.kernels.attend[static_cast<size_t>(kernels::KvKind::kBf16)](a);
    if (*started) task.kernels.merge(scratch.sum, scratch.sum + 1, scratch.sum + 2, a.m, a.l, a.o, 1, padded_);
    *started = true;
  }
}

void SketchAttention::Count(const Task& task, uint32_t i, uint64_t scan_bytes, uint64_t own_bytes) {
  const uint64_t key_and_value = 4 * uint64_t{shape_.head_dim}, tiles = task.middle.first + (task.middle.tiles - task.middle.last);
  counts_.keys += task.item.position + 1;
  counts_.bytes += own_bytes;
  if (i != 0) return;
  counts_.bytes += scan_bytes + tiles * kKeyTile * key_and_value;
  counts_.dense_bytes += uint64_t{task.middle.tiles} * kKeyTile * key_and_value;
}

void SketchAttention::AttendBlocks(const Task& task, uint32_t i, Scratch& scratch) {
  const uint32_t blocks = task.blocks();
  const uint32_t wanted = std::clamp(static_cast<uint32_t>(std::ceil(policy_.blocks * static_cast<float>(blocks))), 1u, blocks);
  const float* scores = task.lane.best + size_t{i} * max_blocks_ * kSketchGroups;
  std::vector<uint32_t>& tiles = scratch.tiles;
  tiles.resize(blocks);
  std::iota(tiles.begin(), tiles.end(), 0u);
  std::nth_element(tiles.begin(), tiles.begin() + (wanted - 1), tiles.end(), [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  tiles.resize(wanted);
  for (uint32_t& t : tiles) t += task.middle.first;
  for (uint32_t t = 0; t < task.middle.first; ++t) tiles.push_back(t);
  for (uint32_t t = task.middle.last; t < task.middle.tiles; ++t) tiles.push_back(t);
  std::sort(tiles.begin(), tiles.end());
  bool started = false;
  AttendTiles(task, tiles, scratch, &started);
  counts_.kept += uint64_t{wanted} * kKeyTile;
  Count(task, i, uint64_t{blocks} * index_.row_bytes(), uint64_t{wanted} * kKeyTile * 4 * shape_.head_dim);
}

void SketchAttention::AttendKeys(const Task& task, uint32_t i, Scratch& scratch) {
  const uint32_t keys = task.blocks() * kKeyTile;
  const uint32_t wanted = std::max(policy_.min_rescore, static_cast<uint32_t>(std::ceil(policy_.rescore * static_cast<float>(keys))));
  const uint32_t count = Candidates(task, i, wanted, scratch);
  // Single keys and values lie anywhere in memory: they are fetched while sink and window are attended.
  for (uint32_t j = 0; j < count; ++j) {
    scratch.rows[j] = index_.key(task.block(scratch.listed[j] / kKeyTile), task.layer, task.kv_head, scratch.listed[j] % kKeyTile);
    for (uint32_t c = 0; c < padded_; c += 32) __builtin_prefetch(scratch.rows[j] + c);
  }
  scratch.tiles.clear();
  for (uint32_t t = 0; t < task.middle.first; ++t) scratch.tiles.push_back(t);
  for (uint32_t t = task.middle.last; t < task.middle.tiles; ++t) scratch.tiles.push_back(t);
  bool started = false;
  AttendTiles(task, scratch.tiles, scratch, &started);
  float* sum = scratch.sum;
  task.kernels.dot_bf16(scratch.rows, count, scratch.row, padded_, scratch.exact);
  float m = sum[0];
  for (uint32_t j = 0; j < count; ++j) m = std::max(m, scratch.exact[j]);
  // What is lighter than its even share of the mass that may be lost: all of it together holds less.
  const float cut = m - std::log2(static_cast<float>(std::max(1u, count)) / (1.f - policy_.keep));
  uint32_t kept = 0;
  for (uint32_t j = 0; j < count; ++j) {
    if (scratch.exact[j] < cut) continue;
    const uint32_t slot = scratch.listed[j] % kKeyTile, block = task.block(scratch.listed[j] / kKeyTile);
    const uint16_t* value = static_cast<const uint16_t*>(pool_->VTile(block, task.layer, task.kv_head)) + size_t{slot / 2} * padded_ * 2 + slot % 2;
    for (uint32_t c = 0; c < 2 * padded_; c += 32) __builtin_prefetch(value + c);
    scratch.exact[kept] = scratch.exact[j];
    scratch.rows[kept++] = value;
  }
  for (uint32_t j = kept; j < RoundUp(kept, 16); ++j) scratch.exact[j] = 0.f;
  float* part = scratch.part;
  part[0] = m;
  part[1] = 0.f;
  std::memset(part + 2, 0, padded_ * sizeof(float));
  task.kernels.attend_keys({scratch.exact, scratch.rows, kept, padded_, m, part + 1, part + 2});
  const float kept_mass = part[1];
  task.kernels.merge(sum, sum + 1, sum + 2, part, part + 1, part + 2, 1, padded_);
  counts_.scanned += keys;
  counts_.rescored += count;
  counts_.kept += kept;
  Count(task, i, static_cast<uint64_t>(index_.scan_bytes_per_key() * keys), uint64_t{count} * index_.row_bytes() + kept * 2 * uint64_t{shape_.head_dim});
  if (Measured(task)) {
    const double missed = MiddleMass(task, i, m) - static_cast<double>(kept_mass);
    const double attended = static_cast<double>(sum[1]) * std::exp2(static_cast<double>(sum[0] - m));
    counts_.mass_kept += attended / (attended + std::max(0.0, missed));
    counts_.measured++;
  }
}

// Sum of 2^(score - m) over all keys between sink and window.
double SketchAttention::MiddleMass(const Task& task, uint32_t i, float m) const {
  std::array<const uint16_t*, kKeyTile> rows;
  std::array<float, kKeyTile> exact;
  double mass = 0;
  for (uint32_t b = 0; b < task.blocks(); ++b) {
    for (uint32_t t = 0; t < kKeyTile; ++t) rows[t] = index_.key(task.block(b), task.layer, task.kv_head, t);
    task.kernels.dot_bf16(rows.data(), kKeyTile, task.lane.queries + size_t{i} * padded_, padded_, exact.data());
    for (const float s : exact) mass += std::exp2(static_cast<double>(s - m));
  }
  return mass;
}

}  // namespace longshore
