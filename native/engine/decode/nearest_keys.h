// The exact nearest keys of sampled queries: what a key graph learns from.
#pragma once

#include <atomic>
#include <span>

#include "engine/decode/key_graph.h"
#include "engine/decode/query_samples.h"
#include "engine/thread_pool.h"

namespace longshore {

// A range of a sequence's blocks in one layer.
struct KeyRange {
  const KvPool* pool;
  std::span<const uint32_t> blocks;
  uint32_t layer;
};

// Of every sampled query of the query heads of `kv_head`, position by position: the `count` keys of the range with the best scores, whether
// before or after the query's own place. Fewer keys than `count` in the range: all of them. *queries takes the queries
// themselves, [samples][padded] bf16. Cancelled: both are incomplete.
void FindNearestKeys(ThreadPool& threads, const kernels::KernelTable& kernels, const KeyRange& range, const QuerySamples& samples, uint32_t group,
                     uint32_t kv_head, uint32_t count, const std::atomic<int32_t>* cancel, NearestKeys* out, std::vector<uint16_t>* queries);

}  // namespace longshore
