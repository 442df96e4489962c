#include "engine/decode/graph_segments.h"

#include <algorithm>
#include <bit>
#include <chrono>

namespace longshore {
namespace {

uint64_t Mix(uint64_t hash, uint64_t x) {
  hash = (hash ^ x) * 0x9e3779b97f4a7c15u;
  return hash ^ hash >> 29;
}

}  // namespace

void GraphSegments::Allocate(const KvPool& pool, const QuerySamples& samples, const Options& options) {
  pool_ = &pool;
  samples_ = &samples;
  options_ = options;
}

uint32_t GraphSegments::CutInto(uint32_t blocks, std::vector<Cut>* cuts) {
  uint32_t first = 0;
  while (blocks - first >= kLeastBlocks) {
    const uint32_t count = std::min(std::bit_floor(blocks - first), kMostBlocks);
    cuts->push_back({first, count});
    first += count;
  }
  return first;
}

const std::vector<SegmentHead>* GraphSegments::Get(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, const std::atomic<int32_t>* cancel) {
  for (const uint32_t block : range.blocks)
    if (!samples_->Complete(block, range.layer)) return nullptr;
  uint64_t hash = range.layer;
  for (const uint32_t block : range.blocks) hash = Mix(hash, uint64_t{block} << 32 | pool_->Version(block, range.layer));
  std::unique_ptr<Segment>& segment = segments_[hash];
  const auto current = [&](const Segment& s) {
    if (s.layer != range.layer || !std::equal(s.blocks.begin(), s.blocks.end(), range.blocks.begin(), range.blocks.end())) return false;
    for (size_t i = 0; i < s.blocks.size(); ++i)
      if (s.versions[i] != pool_->Version(s.blocks[i], range.layer)) return false;
    return true;
  };
  if (!segment || !current(*segment)) {
    if (segment) bytes_ -= segment->bytes;
    auto fresh = std::make_unique<Segment>();
    if (!Build(threads, kernels, range, fresh.get(), cancel)) {
      segments_.erase(hash);
      return nullptr;
    }
    bytes_ += fresh->bytes;
    segment = std::move(fresh);
  }
  segment->used = ++clock_;
  const std::vector<SegmentHead>* heads = &segment->heads;
  Evict();
  return heads;
}

bool GraphSegments::Build(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, Segment* segment, const std::atomic<int32_t>* cancel) {
  const auto start = std::chrono::steady_clock::now();
  const KvPool::Shape& shape = pool_->shape();
  const uint32_t row = pool_->padded(), keys = static_cast<uint32_t>(range.blocks.size()) * kBlockTokens;
  segment->layer = range.layer;
  segment->blocks.assign(range.blocks.begin(), range.blocks.end());
  for (const uint32_t block : range.blocks) segment->versions.push_back(pool_->Version(block, range.layer));
  segment->heads.resize(shape.kv_heads);
  std::vector<NearestKeys> nearest(shape.kv_heads);
  std::vector<std::vector<uint16_t>> queries(shape.kv_heads);
  for (uint32_t head = 0; head < shape.kv_heads; ++head) {
    if (!segment->heads[head].graph.Allocate(keys, row, options_.degree).ok()) return false;
    FindNearestKeys(threads, kernels, range, *samples_, options_.group, head, options_.nearest, cancel, &nearest[head], &queries[head]);
  }
  threads.Run(shape.kv_heads, [&](uint32_t head, uint32_t) {
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    KeyGraph& graph = segment->heads[head].graph;
    for (uint32_t b = 0; b < range.blocks.size(); ++b) pool_->ReadKeyRows(range.blocks[b], range.layer, head, row, graph.row(b * kBlockTokens));
    graph.Link(kernels, nearest[head]);
    segment->heads[head].router.Build(kernels, keys, row, std::move(queries[head]), nearest[head]);
  });
  if (cancel && cancel->load(std::memory_order_relaxed) != 0) return false;
  for (const SegmentHead& head : segment->heads) segment->bytes += head.graph.bytes() + head.router.bytes();
  built_ += shape.kv_heads;
  build_ns_ += static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  return true;
}

void GraphSegments::Evict() {
  while (bytes_ > pool_->bytes() && segments_.size() > 1) {
    const auto oldest = std::min_element(segments_.begin(), segments_.end(), [](const auto& a, const auto& b) { return a.second->used < b.second->used; });
    if (oldest->second->used > begun_) return;
    bytes_ -= oldest->second->bytes;
    segments_.erase(oldest);
  }
}

}  // namespace longshore
