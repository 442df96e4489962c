#include "engine/decode/graph_attention.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace longshore {

using kernels::kKeyTile;

namespace {

constexpr uint32_t kLeastScan = 256;  // keys that a search may score, however few there are

}  // namespace

Status GraphAttention::Allocate(const SketchAttention::Shape& shape, const DecodePolicy& policy, const KvPool& pool, uint32_t threads) {
  policy_ = policy;
  if (policy.kind != DecodeKind::kGraph) return Status::Ok();
  if (pool.shape().dtype != KvDtype::kBf16) return {Code::kUnsupported, "a key graph needs a KV pool of bf16; choose the decode policy \"dense\" or kv_dtype bf16"};
  shape_ = shape;
  pool_ = &pool;
  group_ = shape.heads / shape.kv_heads;
  if (Status s = samples_.Allocate(pool, shape.heads, policy.sample); !s.ok()) return s;
  segments_.Allocate(pool, samples_, {.group = group_, .degree = policy.degree, .nearest = policy.nearest});
  queries_.assign(size_t{shape.heads} * pool.padded(), 0.f);
  scratch_ = std::vector<Scratch>(threads);
  for (Scratch& x : scratch_)
    if (Status s = x.attention.Allocate(pool); !s.ok()) return s;
  return Status::Ok();
}

uint64_t GraphAttention::bytes() const {
  uint64_t bytes = samples_.bytes() + segments_.bytes();
  for (const Scratch& x : scratch_) bytes += x.attention.bytes();
  return bytes;
}

GraphAttention::Range GraphAttention::Around(const AttentionItem& item) const {
  const uint32_t keys = item.position + 1, sink = (policy_.sink_tokens + kKeyTile - 1) / kKeyTile;
  const uint32_t window = keys > policy_.window_tokens ? (keys - policy_.window_tokens) / kKeyTile : 0;
  // The token's own block is incomplete or has just been completed: it has no graph yet.
  return {sink, std::min(window, item.position / kKeyTile), item.position / kKeyTile + 1};
}

void GraphAttention::Plan(std::span<const AttentionItem> items) {
  dense_.clear();
  sparse_.clear();
  for (const AttentionItem& item : items) {
    const bool long_one = policy_.kind == DecodeKind::kGraph && item.tokens == 1 && item.position + 1 >= policy_.min_tokens;
    const Range around = long_one ? Around(item) : Range{};
    (long_one && around.window >= around.sink + GraphSegments::kLeastBlocks ? sparse_ : dense_).push_back(item);
  }
}

void GraphAttention::Prepare(ThreadPool& threads, const kernels::KernelTable& kernels, const AttentionItem& item, const Range& around, uint32_t layer,
                             const std::atomic<int32_t>* cancel) {
  cuts_.clear();
  segments_of_item_.clear();
  whole_.clear();
  const auto read_whole = [this](uint32_t from, uint32_t to) {
    for (uint32_t t = from; t < to; ++t) whole_.push_back(t);
  };
  read_whole(0, around.sink);
  std::vector<GraphSegments::Cut> all;
  const uint32_t covered = GraphSegments::CutInto(around.window, &all);
  segments_.Begin();
  for (const GraphSegments::Cut& cut : all) {
    const std::vector<SegmentHead>* heads = segments_.Get(threads, kernels, {pool_, {item.block_table + cut.first, cut.count}, layer}, cancel);
    if (heads == nullptr) {
      read_whole(std::max(cut.first, around.sink), cut.first + cut.count);
      continue;
    }
    cuts_.push_back(cut);
    segments_of_item_.push_back(heads);
  }
  read_whole(std::max(covered, around.sink), around.tiles);
}

void GraphAttention::Attend(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& around, uint32_t layer, uint32_t head,
                            Scratch* scratch, float* out) {
  TileAttention* attention = &scratch->attention;
  attention->Start(kernels, item, layer, head / group_, &queries_[size_t{head} * pool_->padded()]);
  attention->AddTiles(kernels, whole_);
  scratch->parts.clear();
  uint32_t all = 0, routed = 0;
  scratch->doors.resize(std::max(scratch->doors.size(), cuts_.size()));
  for (size_t i = 0; i < cuts_.size(); ++i) {
    const SegmentHead& segment = (*segments_of_item_[i])[head / group_];
    scratch->doors[i].clear();
    if (!segment.router.empty()) routed += segment.router.Doors(kernels, attention->query(), shape_.scale, &scratch->doors[i]);
    scratch->parts.push_back({&segment.graph, cuts_[i].first * kKeyTile, scratch->doors[i]});
    all += segment.graph.keys();
  }
  const uint32_t most = std::max(kLeastScan, static_cast<uint32_t>(policy_.scan * static_cast<float>(all)));
  // A sampled query that is scored costs what a key does.
  const uint32_t left = most > routed ? most - routed : kLeastScan;
  std::vector<TileAttention::Key>& keys = scratch->keys;
  keys.clear();
  const auto scored = scratch->search.Run(kernels, scratch->parts, attention->query(), policy_.beam, left);
  for (const GraphSearch::Found& f : scored)
    if (f.key >= around.sink * kKeyTile) keys.push_back({f.score, f.key});
  float best = 0.f, mass = 0.f;
  const uint32_t kept = attention->AddKeys(kernels, keys, policy_.keep, &best, &mass);
  attention->Finish(out);
  const uint64_t key_bytes = 2 * uint64_t{shape_.head_dim}, beyond = whole_.size() - around.sink - (around.tiles - around.window);
  counts_.keys += item.position + 1;
  counts_.scanned += scored.size() + routed + beyond * kKeyTile;
  counts_.rescored += keys.size();
  counts_.kept += kept;
  counts_.bytes += (scored.size() + routed) * key_bytes + uint64_t{scratch->search.followed()} * policy_.degree * 2 + kept * key_bytes;
  if (head % group_ == 0) {
    counts_.bytes += whole_.size() * kKeyTile * 2 * key_bytes;
    counts_.dense_bytes += uint64_t{around.tiles} * kKeyTile * 2 * key_bytes;
  }
  if (policy_.measure_every > 0 && item.position % policy_.measure_every == 0) {
    const double missed = MiddleMass(kernels, around, head, best) - static_cast<double>(mass);
    const double attended = static_cast<double>(attention->mass()) * std::exp2(static_cast<double>(attention->best() - best));
    counts_.mass_kept += attended / (attended + std::max(0.0, missed));
    counts_.measured++;
  }
}

// Sum of 2^(score - best) over the keys that have graphs, without the sink.
double GraphAttention::MiddleMass(const kernels::KernelTable& kernels, const Range& around, uint32_t head, float best) const {
  double mass = 0;
  std::array<const uint16_t*, kKeyTile> rows;
  std::array<float, kKeyTile> scores;
  for (size_t cut = 0; cut < cuts_.size(); ++cut) {
    const KeyGraph& graph = (*segments_of_item_[cut])[head / group_].graph;
    for (uint32_t b = 0; b < cuts_[cut].count; ++b) {
      if (cuts_[cut].first + b < around.sink) continue;
      for (uint32_t t = 0; t < kKeyTile; ++t) rows[t] = graph.row(b * kKeyTile + t);
      kernels.dot_bf16(rows.data(), kKeyTile, &queries_[size_t{head} * pool_->padded()], pool_->padded(), scores.data());
      for (const float s : scores) mass += std::exp2(static_cast<double>(s - best));
    }
  }
  return mass;
}

void GraphAttention::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
                         size_t out_stride, const std::atomic<int32_t>* cancel) {
  for (const AttentionItem& item : sparse_) {
    const Range around = Around(item);
    Prepare(threads, kernels, item, around, layer, cancel);
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    const float* row = q + item.first_row * q_stride;
    for (uint32_t head = 0; head < shape_.heads; ++head)
      for (uint32_t c = 0; c < shape_.head_dim; ++c) queries_[size_t{head} * pool_->padded() + c] = row[size_t{head} * shape_.head_dim + c] * shape_.scale;
    threads.Run(shape_.heads, [&](uint32_t head, uint32_t thread) {
      Attend(kernels, item, around, layer, head, &scratch_[thread], out + item.first_row * out_stride + size_t{head} * shape_.head_dim);
    });
  }
}

}  // namespace longshore
