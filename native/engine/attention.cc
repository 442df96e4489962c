#include "engine/attention.h"

#include <algorithm>
#include <cmath>

namespace longshore {
namespace {

using kernels::kKeyTile;
using kernels::kMaxAttendRows;

constexpr uint32_t kUnitRows = 60;  // rows of a prefill unit: whole register tiles, scores that stay in the second-level cache
constexpr uint64_t kMaxPartFloats = 16u << 20;  // 64 MiB; a step that would need more leaves its splits to one thread
constexpr uint32_t kSplitKeys = kSplitTiles * kKeyTile;
static_assert(kUnitRows <= kMaxAttendRows);

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

}  // namespace

Status Attention::Allocate(const Shape& shape, const KvPool& pool, uint32_t threads, uint32_t max_tokens) {
  shape_ = shape;
  pool_ = &pool;
  group_ = shape.heads / shape.kv_heads;
  padded_ = pool.padded();
  unit_tokens_ = std::max(1u, kUnitRows / group_);
  kind_ = pool.shape().dtype == KvDtype::kF32 ? kernels::KvKind::kF32
          : shape.exact                       ? kernels::KvKind::kBf16Exact
                                              : kernels::KvKind::kBf16;
  const uint64_t rows = std::max(unit_tokens_ * group_, group_);
  const uint64_t q = RoundUp(rows * shape.head_dim * 4, 64), q16 = RoundUp(rows * shape.head_dim * 2 + 64, 64);
  const uint64_t tile = rows * kKeyTile * 4, part = RoundUp(PartFloats(static_cast<uint32_t>(rows)) * 4, 64);
  const uint64_t per_thread = q + q16 + 2 * tile + 2 * part;
  const uint64_t splits = (uint64_t{max_tokens} + kSplitKeys - 1) / kSplitKeys;
  // Plan splits units only while there are fewer than four per thread.
  part_capacity_ = std::min<uint64_t>(4 * threads * splits * PartFloats(static_cast<uint32_t>(rows)), kMaxPartFloats);
  Status s = memory_.Allocate(threads * per_thread + part_capacity_ * 4, "attention scratch");
  if (!s.ok()) return s;
  Carver carver(memory_);
  scratch_.clear();
  for (uint32_t t = 0; t < threads; ++t) {
    Scratch& x = scratch_.emplace_back();
    x.q = reinterpret_cast<float*>(carver.Take<uint8_t>(q));
    x.q_bf16 = reinterpret_cast<uint16_t*>(carver.Take<uint8_t>(q16));
    x.scores = reinterpret_cast<float*>(carver.Take<uint8_t>(tile));
    x.probabilities = carver.Take<uint8_t>(tile);
    for (float*& b : x.part) b = reinterpret_cast<float*>(carver.Take<uint8_t>(part));
  }
  parts_ = carver.Take<float>(part_capacity_);
  return Status::Ok();
}

void Attention::Plan(std::span<const AttentionItem> items, std::span<const AttentionItem> sliding_items, uint32_t threads) {
  items_.assign(items.begin(), items.end());
  units_.clear();
  joins_.clear();
  size_t whole = 0;
  for (const AttentionItem& i : items_) whole += (i.tokens + unit_tokens_ - 1) / unit_tokens_ * size_t{shape_.kv_heads};
  const bool split = threads > 1 && whole < size_t{4} * threads;
  size_t used = 0;
  for (uint32_t i = 0; i < items_.size(); ++i) {
    const AttentionItem& item = items_[i];
    for (uint32_t token = 0; token < item.tokens; token += unit_tokens_) {
      const uint32_t tokens = std::min(unit_tokens_, item.tokens - token);
      const uint32_t keys = item.position + token + tokens;
      const uint32_t splits = (keys + kSplitKeys - 1) / kSplitKeys;
      for (uint32_t head = 0; head < shape_.kv_heads; ++head) {
        const size_t part = PartFloats(tokens * group_);
        if (split && splits > 1 && used + part * splits <= part_capacity_) {
          joins_.push_back({i, head, token, tokens, splits, static_cast<int32_t>(used)});
          for (uint32_t s = 0; s < splits; ++s, used += part)
            units_.push_back({i, head, token, tokens, s, 1, static_cast<int32_t>(used), uint64_t{tokens} * std::min(kSplitKeys, keys - s * kSplitKeys)});
        } else {
          units_.push_back({i, head, token, tokens, 0, splits, -1, uint64_t{tokens} * keys});
        }
      }
    }
  }
  PlanSliding(sliding_items);
  // Long units first, so that the last ones to finish are short.
  std::stable_sort(units_.begin(), units_.end(), [](const Unit& a, const Unit& b) { return a.cost > b.cost; });
}

// A window is a few splits at most: every unit walks its own.
void Attention::PlanSliding(std::span<const AttentionItem> items) {
  sliding_units_.clear();
  if (shape_.window == 0) return;
  const uint32_t first_item = static_cast<uint32_t>(items_.size());
  items_.insert(items_.end(), items.begin(), items.end());
  for (uint32_t i = first_item; i < items_.size(); ++i) {
    const AttentionItem& item = items_[i];
    for (uint32_t token = 0; token < item.tokens; token += unit_tokens_) {
      const uint32_t tokens = std::min(unit_tokens_, item.tokens - token), position = item.position + token;
      const uint32_t first = position + 1 > shape_.window ? (position + 1 - shape_.window) / kSplitKeys : 0;
      const uint32_t end = (position + tokens + kSplitKeys - 1) / kSplitKeys;
      for (uint32_t head = 0; head < shape_.kv_heads; ++head) sliding_units_.push_back({i, head, token, tokens, first, end - first, -1, 0});
    }
  }
}

void Attention::RunUnit(const kernels::KernelTable& kernels, const Unit& unit, uint32_t layer, uint32_t window, const float* q, size_t q_stride,
                        float* out, size_t out_stride, const Scratch& scratch, const std::atomic<int32_t>* cancel) const {
  const AttentionItem& item = items_[unit.item];
  const uint32_t d = shape_.head_dim, rows = unit.tokens * group_;
  constexpr double kLog2e = 1.4426950408889634;
  const float scale = static_cast<float>(shape_.scale > 0.0 ? kLog2e * shape_.scale : kLog2e / std::sqrt(static_cast<double>(d)));
  for (uint32_t t = 0; t < unit.tokens; ++t) {
    const float* from = q + (item.first_row + unit.token + t) * q_stride + size_t{unit.head} * group_ * d;
    float* to = scratch.q + size_t{t} * group_ * d;
    for (uint32_t c = 0; c < group_ * d; ++c) to[c] = from[c] * scale;
  }
  if (kernels.attend_reads_bf16) kernels.to_bf16(scratch.q, static_cast<uint32_t>(RoundUp(uint64_t{rows} * d, 16)), scratch.q_bf16);
  kernels::Attend a{};
  a.q = scratch.q;
  a.q_bf16 = scratch.q_bf16;
  a.rows = rows;
  a.group = group_;
  a.position = item.position + unit.token;
  a.head_dim = d;
  a.padded = padded_;
  a.scores = scratch.scores;
  a.probabilities = scratch.probabilities;
  a.window = window;
  const uint32_t tiles = (a.position + unit.tokens + kKeyTile - 1) / kKeyTile;
  const uint32_t oldest = window > 0 && a.position + 1 > window ? (a.position + 1 - window) / kKeyTile : 0;
  float* sum = unit.part >= 0 ? parts_ + unit.part : scratch.part[0];
  for (uint32_t s = unit.split; s < unit.split + unit.splits; ++s) {
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    const void *k_tiles[kSplitTiles], *v_tiles[kSplitTiles];
    const uint32_t first = std::max(s * kSplitTiles, oldest);
    a.first_key = first * kKeyTile;
    a.tiles = std::min((s + 1) * kSplitTiles, tiles) - first;
    for (uint32_t t = 0; t < a.tiles; ++t) {
      k_tiles[t] = pool_->KTile(item.block_table[first + t], layer, unit.head);
      v_tiles[t] = pool_->VTile(item.block_table[first + t], layer, unit.head);
    }
    a.k_tiles = k_tiles;
    a.v_tiles = v_tiles;
    float* part = s == unit.split ? sum : scratch.part[1];
    a.m = part;
    a.l = part + rows;
    a.o = part + 2 * rows;
    kernels.attend[static_cast<size_t>(kind_)](a);
    if (part != sum) kernels.merge(sum, sum + rows, sum + 2 * rows, a.m, a.l, a.o, rows, padded_);
  }
  if (unit.part < 0) Finish(sum, rows, item, unit.head, unit.token, out, out_stride);
}

void Attention::Finish(const float* part, uint32_t rows, const AttentionItem& item, uint32_t head, uint32_t token, float* out,
                       size_t out_stride) const {
  const uint32_t d = shape_.head_dim;
  const float* l = part + rows;
  for (uint32_t r = 0; r < rows; ++r) {
    const float* o = part + 2 * rows + size_t{r} * padded_;
    float* to = out + (item.first_row + token + r / group_) * out_stride + (size_t{head} * group_ + r % group_) * d;
    const float inverse = 1.f / l[r];
    for (uint32_t c = 0; c < d; ++c) to[c] = o[c] * inverse;
  }
}

void Attention::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, bool sliding, const float* q, size_t q_stride,
                    float* out, size_t out_stride, const std::atomic<int32_t>* cancel) {
  const std::vector<Unit>& units = sliding ? sliding_units_ : units_;
  threads.Run(static_cast<uint32_t>(units.size()), [&](uint32_t task, uint32_t thread) {
    RunUnit(kernels, units[task], layer, sliding ? shape_.window : 0, q, q_stride, out, out_stride, scratch_[thread], cancel);
  });
  if (sliding || joins_.empty() || (cancel && cancel->load(std::memory_order_relaxed) != 0)) return;
  for (const Join& j : joins_) {
    const uint32_t rows = j.tokens * group_;
    const size_t part = PartFloats(rows);
    float* sum = parts_ + j.part;
    for (uint32_t s = 1; s < j.splits; ++s) {
      const float* p = sum + s * part;
      kernels.merge(sum, sum + rows, sum + 2 * rows, p, p + rows, p + 2 * rows, rows, padded_);
    }
    Finish(sum, rows, items_[j.item], j.head, j.token, out, out_stride);
  }
}

}  // namespace longshore
