// The key graphs of all sequences, cut so that sequences share what they share (docs/design/0026).
//
// The blocks [0, n) of a sequence are cut into aligned segments of 2^i blocks, the largest first, as the bits of n say; less than
// kLeastBlocks remain without a graph. A segment's graphs are a pure function of its blocks: it does not matter which sequence, step
// or thread built them, forks share those of their common prefix, and a context that grows never changes a graph that exists.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/decode/nearest_keys.h"
#include "engine/decode/query_router.h"

namespace longshore {

// What a segment knows of one KV head.
struct SegmentHead {
  KeyGraph graph;
  QueryRouter router;
};

class GraphSegments {
 public:
  static constexpr uint32_t kLeastBlocks = 4, kMostBlocks = kGraphKeys / kBlockTokens;

  struct Options {
    uint32_t group = 1;         // query heads per KV head
    uint32_t degree = 32;       // links of a key
    uint32_t nearest = 32;      // keys of a sampled query that are linked
  };
  struct Cut {
    uint32_t first, count;      // blocks of the sequence
  };

  void Allocate(const KvPool& pool, const QuerySamples& samples, const Options& options);
  uint64_t bytes() const { return bytes_; }
  // Appends the segments of the blocks [0, blocks); returns how many blocks they cover.
  static uint32_t CutInto(uint32_t blocks, std::vector<Cut>* cuts);

  // Begins an item's calls of Get: what they return stays until the next Begin.
  void Begin() { begun_ = clock_; }
  // The graphs [kv_heads] of these complete blocks in a layer, built when they are not there. Null when cancelled, without memory, or
  // where blocks lack sampled queries.
  // What was not used for longest goes when all graphs take more than the pool's own bytes.
  const std::vector<SegmentHead>* Get(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, const std::atomic<int32_t>* cancel);
  uint64_t built() const { return built_; }  // graphs, ever
  uint64_t build_ns() const { return build_ns_; }

 private:
  struct Segment {
    uint32_t layer = 0;
    std::vector<uint32_t> blocks, versions;
    std::vector<SegmentHead> heads;
    uint64_t bytes = 0, used = 0;
  };
  bool Build(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, Segment* segment, const std::atomic<int32_t>* cancel);
  void Evict();

  const KvPool* pool_ = nullptr;
  const QuerySamples* samples_ = nullptr;
  Options options_;
  std::unordered_map<uint64_t, std::unique_ptr<Segment>> segments_;  // by a hash of layer, blocks and versions
  uint64_t bytes_ = 0, clock_ = 0, begun_ = 0, built_ = 0, build_ns_ = 0;
};

}  // namespace longshore
