#include "engine/sparse/sparse_attention.h"

#include <algorithm>
#include <chrono>

#include "engine/sparse/block_attention.h"
#include "engine/sparse/select.h"

namespace longshore {
namespace {

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

class Stopwatch {
 public:
  uint64_t Lap() {
    const auto now = std::chrono::steady_clock::now();
    const auto ns = std::chrono::nanoseconds(now - last_).count();
    last_ = now;
    return static_cast<uint64_t>(ns);
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

bool NeedsMeans(const HeadPolicy& p) {
  return p.type == HeadPolicyType::kBlockEnergy || p.type == HeadPolicyType::kBlockSparse || p.type == HeadPolicyType::kVerticalSlash;
}
bool NeedsCodes(const HeadPolicy& p) {
  return (p.type == HeadPolicyType::kBlockEnergy && p.tau > 0.f) || p.type == HeadPolicyType::kVerticalSlash;
}

}  // namespace

Status SparseAttention::Allocate(const Shape& shape, const AttentionPolicy& policy, const KvPool& pool, uint32_t threads, uint32_t max_tokens,
                                 std::span<const AttentionPolicy> others) {
  shape_ = shape;
  pool_ = &pool;
  kind_ = pool.shape().dtype == KvDtype::kF32 ? kernels::KvKind::kF32 : shape.exact ? kernels::KvKind::kBf16Exact : kernels::KvKind::kBf16;
  policy_ = &policy;
  if (policy.dense()) return Status::Ok();
  BlockIndex::Needs needs;
  bool means = false;
  const auto need = [&](const AttentionPolicy& all) {
    for (const HeadPolicy& p : all.table) {
      means |= NeedsMeans(p);
      needs.codes |= NeedsCodes(p);
      needs.values |= p.mean_correction;
    }
  };
  need(policy);
  for (const AttentionPolicy& other : others) need(other);
  const uint32_t max_blocks = (max_tokens + kBlockTokens - 1) / kBlockTokens;
  if (means) {
    if (Status s = index_.Allocate(pool, needs); !s.ok()) return s;
    if (Status s = means_.Allocate(pool, max_blocks, needs.values); !s.ok()) return s;
  }
  Use(policy);

  const uint64_t d = shape.head_dim, depth = RoundUp(d, 4), rows = kBlockTokens, tiles = RoundUp(max_blocks, kBlockTokens) / kBlockTokens;
  const uint64_t part = rows * (2 + pool.padded());
  const auto carve = [&](Carver* carver) {
    uint64_t bytes = 0;
    const auto take = [&]<typename T>(T** p, uint64_t count) {
      const uint64_t whole = RoundUp(count * sizeof(T), 64);
      bytes += whole;
      if (carver) *p = reinterpret_cast<T*>(carver->Take<uint8_t>(whole));
    };
    UnitScratch x{};
    uint8_t *probabilities = nullptr, *k_tile = nullptr, *v_tile = nullptr;
    take(&x.q, rows * d);
    take(&x.q_bf16, rows * d + 32);
    take(&x.q8, rows * depth);
    take(&x.q8_scale, rows);
    take(&x.q8_sum, rows);
    take(&x.scores, rows * kBlockTokens);
    take(&probabilities, rows * kBlockTokens * 4);
    take(&x.mean_scores, tiles * rows * kBlockTokens);
    take(&x.energy, tiles * kBlockTokens);
    take(&x.look_m, uint64_t{max_blocks} * kBlockTokens);
    take(&x.look_l, uint64_t{max_blocks} * kBlockTokens);
    take(&x.keep, max_blocks);
    take(&x.lines, 2 * (uint64_t{max_blocks} + 2) * kBlockTokens);
    take(&x.sum, part);
    take(&x.part, part);
    take(&k_tile, d * kBlockTokens * 4);
    take(&v_tile, uint64_t{pool.padded()} * kBlockTokens * 4);
    x.probabilities = probabilities;
    x.k_tile = k_tile;
    x.v_tile = v_tile;
    if (carver) scratch_.push_back(std::move(x));
    return bytes;
  };
  if (Status s = memory_.Allocate(threads * carve(nullptr), "sparse attention scratch"); !s.ok()) return s;
  Carver carver(memory_);
  scratch_.clear();
  for (uint32_t t = 0; t < threads; ++t) carve(&carver);
  return Status::Ok();
}

void SparseAttention::Use(const AttentionPolicy& policy) {
  policy_ = &policy;
  needs_.assign(policy.layers, {});
  for (uint32_t l = 0; l < policy.layers; ++l)
    for (uint32_t h = 0; h < policy.heads; ++h) needs_[l].means |= NeedsMeans(policy.at(l, h));
  counts_ = std::make_unique<SelectionCounts>(policy.layers, policy.heads);
}

void SparseAttention::Plan(std::span<const AttentionItem> items) {
  dense_.clear();
  sparse_.clear();
  const uint32_t boundary = policy_->min_tokens / kBlockTokens * kBlockTokens;
  for (const AttentionItem& item : items) {
    const uint32_t end = item.position + item.tokens;
    const uint32_t first = std::min(end, std::max(item.position, boundary));  // sparse from here on
    if (policy_->dense() || item.tokens == 1 || first == end) {
      dense_.push_back(item);
      continue;
    }
    const uint32_t before = first - item.position;
    if (before > 0) dense_.push_back({item.first_row, before, item.position, item.block_table});
    sparse_.push_back({item.first_row + before, item.tokens - before, first, item.block_table});
  }
}

void SparseAttention::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
                          size_t out_stride, const std::atomic<int32_t>* cancel) {
  const SparseLayer shared{&kernels, pool_, &index_, &means_, kind_, layer, shape_.heads / shape_.kv_heads, shape_.scale, cancel};
  for (const AttentionItem& item : sparse_) {
    if (shared.cancelled()) return;
    if (needs_[layer].means) {
      Stopwatch watch;
      means_.Gather(threads, kernels, item, layer, index_);
      counts_->select_ns += watch.Lap() * threads.threads();
    }
    RunItem(threads, item, shared, q, q_stride, out, out_stride);
  }
}

void SparseAttention::RunItem(ThreadPool& threads, const AttentionItem& item, const SparseLayer& layer, const float* q, size_t q_stride, float* out,
                              size_t out_stride) {
  const uint32_t first = item.position / kBlockTokens, end = (item.position + item.tokens + kBlockTokens - 1) / kBlockTokens;
  threads.Run((end - first) * shape_.heads, [&](uint32_t task, uint32_t thread) {
    if (layer.cancelled()) return;
    // Late blocks first: they have the most keys.
    const uint32_t head = task % shape_.heads, block = end - 1 - task / shape_.heads;
    const uint32_t from = std::max(item.position, block * kBlockTokens), to = std::min(item.position + item.tokens, (block + 1) * kBlockTokens);
    const size_t row = item.first_row + (from - item.position), channel = size_t{head} * shape_.head_dim;
    const QueryBlock unit{&item, head, block, from, to - from, q + row * q_stride + channel, q_stride};
    RunHead(layer, unit, &scratch_[thread], out + row * out_stride + channel, out_stride);
  });
}

// The unit's selection: its own, or with a shared policy the union over the query heads of its KV head.
bool SparseAttention::Choose(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) const {
  if (!policy.shared || layer.group == 1) {
    LoadQueries(layer, unit, scratch);
    return Select(layer, unit, policy, scratch);
  }
  Selection& all = scratch->other;
  all.Clear();
  const auto unite = [](std::vector<uint32_t>* to, std::vector<uint32_t>& from) {
    const size_t old = to->size();
    to->insert(to->end(), from.begin(), from.end());
    std::inplace_merge(to->begin(), to->begin() + static_cast<ptrdiff_t>(old), to->end());
    to->erase(std::unique(to->begin(), to->end()), to->end());
  };
  const uint32_t first = unit.head / layer.group * layer.group;
  for (uint32_t h = first; h < first + layer.group; ++h) {
    QueryBlock other = unit;
    other.head = h;
    other.q = unit.q - size_t{unit.head} * shape_.head_dim + size_t{h} * shape_.head_dim;
    const HeadPolicy& theirs = policy_->at(layer.layer, h);
    if (!(theirs == policy)) continue;  // heads share with heads of the same policy
    LoadQueries(layer, other, scratch);
    if (!Select(layer, other, theirs, scratch)) return false;
    Selection& s = scratch->selection;
    all.always = s.always;
    unite(&all.kept, s.kept);
    unite(&all.columns, s.columns);
    if (h == unit.head) all.scanned = s.scanned;
  }
  // A key whose block is read whole is no column.
  std::erase_if(all.columns, [&](uint32_t key) { return std::binary_search(all.kept.begin(), all.kept.end(), key / kBlockTokens); });
  std::swap(scratch->selection, all);
  LoadQueries(layer, unit, scratch);
  return true;
}

void SparseAttention::ReportCounts(EngineStats* stats) const {
  if (!counts_) return;
  stats->sparse_select_ns = counts_->select_ns;
  stats->sparse_attend_ns = counts_->attend_ns;
  stats->causal_entries = stats->computed_entries = stats->scanned_entries = 0;
  for (uint32_t l = 0; l < policy_->layers; ++l)
    for (uint32_t h = 0; h < policy_->heads; ++h) {
      const SelectionCount& c = counts_->at(l, h);
      stats->causal_entries += c.causal;
      stats->computed_entries += c.computed;
      stats->scanned_entries += c.scanned;
    }
}

void SparseAttention::RunHead(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch, float* out, size_t out_stride) {
  const HeadPolicy& policy = policy_->at(layer.layer, unit.head);
  Stopwatch watch;
  if (!Choose(layer, unit, policy, scratch)) return;
  const uint64_t select_ns = watch.Lap();
  const Selection& s = scratch->selection;
  if (!scratch->started && !AttendBlocks(layer, unit, s.always, scratch)) return;
  if (!AttendBlocks(layer, unit, s.kept, scratch) || !AttendColumns(layer, unit, s.columns, scratch)) return;
  uint64_t attend_ns = watch.Lap();
  if (observer_) {
    observer_->Attended(layer, unit, scratch);
    watch.Lap();
  }
  if (policy.mean_correction) {
    std::vector<uint32_t>& pruned = scratch->order;
    pruned.clear();
    size_t a = 0, k = 0;
    for (uint32_t b = 0; b <= unit.block; ++b) {
      if (a < s.always.size() && s.always[a] == b) ++a;
      else if (k < s.kept.size() && s.kept[k] == b) ++k;
      else pruned.push_back(b);
    }
    if (!AttendMeans(layer, unit, pruned, scratch)) return;
  }
  StoreOutput(layer, unit, *scratch, out, out_stride);
  attend_ns += watch.Lap();
  counts_->select_ns += select_ns;
  counts_->attend_ns += attend_ns;
  SelectionCount& count = counts_->at(layer.layer, unit.head);
  count.ns += select_ns + attend_ns;
  count.causal += CausalEntries(unit);
  count.computed += ComputedEntries(unit, s);
  count.scanned += s.scanned;
  if (observer_) observer_->Selected(layer.layer, unit, s);
}

}  // namespace longshore
