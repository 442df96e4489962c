#include "engine/decode/query_samples.h"

#include <new>

#include "engine/kv/bf16.h"

namespace longshore {

Status QuerySamples::Allocate(const KvPool& pool, uint32_t heads, uint32_t every) {
  if (every < kBlockTokens / 32 || kBlockTokens % every != 0)
    return {Code::kInvalidArgument, "a query in " + std::to_string(every) + "; use a divisor of 128 that is at least 4"};
  const KvPool::Shape& shape = pool.shape();
  every_ = every;
  heads_ = heads;
  head_dim_ = shape.head_dim;
  layers_ = shape.layers;
  const size_t entries = size_t{shape.blocks} * shape.layers;
  present_.reset(new (std::nothrow) std::atomic<uint32_t>[entries]());
  if (!present_) return {Code::kOutOfMemory, "no memory for the sampled queries' marks"};
  return memory_.Allocate(uint64_t{entries} * per_block() * heads * head_dim_ * 2, "sampled queries");
}

void QuerySamples::Record(uint32_t block, uint32_t layer, uint32_t slot, const float* q) {
  if (slot % every_ != every_ - 1) return;
  const uint32_t sample = slot / every_, count = heads_ * head_dim_;
  uint16_t* to = memory_.as<uint16_t>() + (Entry(block, layer) * per_block() + sample) * count;
  for (uint32_t i = 0; i < count; ++i) to[i] = Bf16OfFloat(q[i]);
  present_[Entry(block, layer)].fetch_or(1u << sample, std::memory_order_relaxed);
}

}  // namespace longshore
