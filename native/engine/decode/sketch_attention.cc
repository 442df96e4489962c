#include "engine/decode/sketch_attention.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace longshore {
namespace {

using kernels::kKeyTile;

constexpr uint32_t kScanBlocks = 64;     // of a task, and of a call
constexpr uint32_t kQueriesOfScan = 8;   // heads whose queries are scanned with one call
constexpr uint32_t kMaxEntry = 63;       // of a lookup table

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

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
  const uint64_t row = RoundUp(padded_ * 4, 64), part = RoundUp((2 + padded_) * 4, 64), tile = kKeyTile * 4, numbers = RoundUp(group_ * 4, 64);
  const uint64_t per_thread = 2 * row + 2 * tile + 2 * part + uint64_t{max_candidates_} * (4 + 8 + 4);
  const uint64_t per_lane = group_ * (uint64_t{padded_} * 4 + index_.groups() * 16 + uint64_t{max_blocks_} * (kKeyTile + kSketchGroups) * 4) + 2 * numbers;
  const uint32_t lanes = std::max(threads, shape.kv_heads);
  if (Status s = memory_.Allocate(threads * per_thread + lanes * per_lane, "decode scratch"); !s.ok()) return s;
  Carver carver(memory_);
  lanes_.resize(lanes);
  for (Lane& lane : lanes_) {
    lane.scores = carver.Take<float>(uint64_t{group_} * max_blocks_ * kKeyTile);
    lane.best = carver.Take<float>(uint64_t{group_} * max_blocks_ * kSketchGroups);
    lane.queries = carver.Take<float>(uint64_t{group_} * padded_);
    lane.tables = carver.Take<uint8_t>(uint64_t{group_} * index_.groups() * 16);
    lane.bias = carver.Take<float>(numbers / 4);
    lane.step = carver.Take<float>(numbers / 4);
  }
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
    (middle.first < middle.last ? sparse_ : dense_).push_back(item);
  }
}

SketchAttention::Range SketchAttention::Middle(const AttentionItem& item) const {
  const uint32_t keys = item.position + 1, sink = (policy_.sink_tokens + kKeyTile - 1) / kKeyTile;
  const uint32_t window = keys > policy_.window_tokens ? (keys - policy_.window_tokens) / kKeyTile : 0;
  // The token's own block is incomplete or has just been completed: it is never scanned.
  return {sink, std::min(window, item.position / kKeyTile), item.position / kKeyTile + 1};
}

// Scales the query and turns its rotation into tables of sums of four channels with every pattern of signs.
void SketchAttention::Prepare(const Task& task, uint32_t i, const float* q) const {
  const uint32_t d = shape_.head_dim, groups = index_.groups();
  float* scaled = task.lane.queries + size_t{i} * padded_;
  for (uint32_t c = 0; c < d; ++c) scaled[c] = q[c] * shape_.scale;
  std::array<float, 2 * kernels::kMaxHeadDim> rotated;
  index_.Rotate(scaled, rotated.data());
  float widest = 0.f, bias = 0.f;
  for (uint32_t g = 0; g < groups; ++g) {
    float width = 0.f;
    for (uint32_t c = 0; c < 4; ++c) width += std::fabs(rotated[4 * g + c]);
    widest = std::max(widest, width);
    bias -= width;
  }
  const float step = 2.f * widest / kMaxEntry, inverse = step > 0.f ? 1.f / step : 0.f;
  uint8_t* table = task.lane.tables + size_t{i} * groups * 16;
  for (uint32_t g = 0; g < groups; ++g)
    for (uint32_t bits = 0; bits < 16; ++bits) {
      float above = 0.f;  // the sum of the four, above its least value
      for (uint32_t c = 0; c < 4; ++c) {
        const float x = rotated[4 * g + c];
        above += std::fabs(x) + ((bits >> c & 1) != 0 ? x : -x);
      }
      table[g * 16 + bits] = static_cast<uint8_t>(std::min<float>(above * inverse + 0.5f, kMaxEntry));
    }
  task.lane.bias[i] = bias;
  task.lane.step[i] = step;
}

void SketchAttention::Scan(const Task& task, uint32_t first, uint32_t last) {
  const bool means_only = policy_.kind == DecodeKind::kBlockTopk;
  std::array<const uint8_t*, kScanBlocks> sketches;
  std::array<const uint16_t*, kScanBlocks> means;
  std::array<kernels::SketchQuery, kQueriesOfScan> queries;
  for (; first < last; first += kScanBlocks) {
    const uint32_t blocks = std::min(last - first, kScanBlocks);
    for (uint32_t b = 0; b < blocks; ++b) {
      const uint32_t block = task.block(first + b);
      index_.Ensure(block, task.layer, task.kv_head);
      sketches[b] = index_.sketch(block, task.layer, task.kv_head);
      means[b] = index_.mean(block, task.layer, task.kv_head);
    }
    const Lane& lane = task.lane;
    kernels::SketchScan scan{sketches.data(), blocks, index_.groups(), padded_, queries.data(), 0};
    for (uint32_t i = 0; i < group_; i += scan.count) {
      scan.count = std::min(group_ - i, kQueriesOfScan);
      for (uint32_t j = i; j < i + scan.count; ++j) {
        const size_t place = size_t{j} * max_blocks_ + first;
        queries[j - i] = {lane.queries + size_t{j} * padded_, lane.tables + size_t{j} * scan.groups * 16, lane.bias[j], lane.step[j],
                          lane.scores + place * kKeyTile, lane.best + place * kSketchGroups};
        if (means_only) task.kernels.dot_bf16(means.data(), blocks, queries[j - i].q, padded_, lane.best + size_t{j} * max_blocks_ * kSketchGroups + first);
      }
      if (!means_only) task.kernels.scan_sketches(scan);
    }
  }
}

void SketchAttention::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
                          size_t out_stride, const std::atomic<int32_t>* cancel) {
  const auto cancelled = [&] { return cancel && cancel->load(std::memory_order_relaxed) != 0; };
  const uint32_t kv_heads = shape_.kv_heads, tasks = static_cast<uint32_t>(sparse_.size()) * kv_heads;
  const auto task_of = [&](const AttentionItem& item, uint32_t kv_head, uint32_t lane) {
    return Task{kernels, item, Middle(item), layer, kv_head, lanes_[lane]};
  };
  const auto prepare = [&](const Task& task, uint32_t i) {
    Prepare(task, i, q + task.item.first_row * q_stride + (size_t{task.kv_head} * group_ + i) * shape_.head_dim);
  };
  const auto attend = [&](const Task& task, uint32_t i, uint32_t thread) {
    Attend(task, i, scratch_[thread], out + task.item.first_row * out_stride + (size_t{task.kv_head} * group_ + i) * shape_.head_dim);
  };
  // Where KV heads keep all threads busy, each is done by one of them from end to end: its scores stay in that core's cache.
  if (tasks % threads.threads() == 0 || tasks >= 4 * threads.threads()) {
    threads.Run(tasks, [&](uint32_t t, uint32_t thread) {
      if (cancelled()) return;
      const Task task = task_of(sparse_[t / kv_heads], t % kv_heads, thread);
      for (uint32_t i = 0; i < group_; ++i) prepare(task, i);
      Scan(task, 0, task.blocks());
      for (uint32_t i = 0; i < group_; ++i) attend(task, i, thread);
    });
    return;
  }
  for (const AttentionItem& item : sparse_) {
    if (cancelled()) return;
    threads.Run(shape_.heads, [&](uint32_t head, uint32_t) { prepare(task_of(item, head / group_, head / group_), head % group_); });
    const Range middle = Middle(item);
    const uint32_t blocks = middle.last - middle.first, ranges = (blocks + kScanBlocks - 1) / kScanBlocks;
    threads.Run(ranges * kv_heads, [&](uint32_t t, uint32_t) {
      if (cancelled()) return;
      const uint32_t first = t / kv_heads * kScanBlocks;
      Scan(task_of(item, t % kv_heads, t % kv_heads), first, std::min(first + kScanBlocks, blocks));
    });
    threads.Run(shape_.heads, [&](uint32_t head, uint32_t thread) {
      if (!cancelled()) attend(task_of(item, head / group_, head / group_), head % group_, thread);
    });
  }
}

}  // namespace longshore
