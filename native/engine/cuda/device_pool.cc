#include "engine/cuda/device_pool.h"

#include <algorithm>
#include <cstring>

#include "engine/cuda/card.h"
#include "engine/cuda/tile_order.h"

namespace longshore::cuda {

// A lane for the time of one transfer; waits for one.
class DevicePool::LaneUse {
 public:
  explicit LaneUse(const DevicePool& pool) : pool_(pool) {
    std::unique_lock lock(pool.mutex_);
    pool.freed_.wait(lock, [&] { return (lane_ = Free()) != nullptr; });
    lane_->busy = true;
  }
  ~LaneUse() {
    {
      std::lock_guard lock(pool_.mutex_);
      lane_->busy = false;
    }
    pool_.freed_.notify_one();
  }
  LaneUse(const LaneUse&) = delete;
  LaneUse& operator=(const LaneUse&) = delete;
  Lane* operator->() const { return lane_; }

 private:
  Lane* Free() const {
    const auto at = std::find_if(pool_.lanes_.begin(), pool_.lanes_.end(), [](const Lane& l) { return !l.busy; });
    return at == pool_.lanes_.end() ? nullptr : &*at;
  }
  const DevicePool& pool_;
  Lane* lane_ = nullptr;
};

Status DevicePool::Allocate(const Shape& shape) {
  Free();
  shape_ = shape;
  if (Status s = memory_.Allocate((uint64_t{shape.blocks} + 1) * shape.layers * BlockElements() * sizeof(bf16), "the KV pool"); !s.ok()) return s;
  // Finite everywhere, and zero between head_dim and its padded size, as the kernels' contract asks.
  if (Status s = CudaStatus(cudaMemset(memory_.as<void>(), 0, memory_.bytes()), "clearing the KV pool"); !s.ok()) return s;
  for (Lane& lane : lanes_) {
    if (Status s = lane.staging.Allocate(BlockElements() * sizeof(bf16), "KV transfers"); !s.ok()) return s;
    if (Status s = CudaStatus(cudaStreamCreateWithFlags(&lane.stream, cudaStreamNonBlocking), "a stream for KV transfers"); !s.ok()) return s;
  }
  return Status::Ok();
}

void DevicePool::Free() {
  for (Lane& lane : lanes_) {
    if (lane.stream != nullptr) cudaStreamDestroy(lane.stream);
    lane.stream = nullptr;
    lane.staging.Free();
  }
  memory_.Free();
}

PagedKv DevicePool::Layer(uint32_t layer, const int32_t* block_table, uint32_t table_stride) const {
  bf16* const k = Block(0, layer);
  return {k, k + shape_.kv_heads * TileElements(), static_cast<int64_t>(BlockElements()), static_cast<int64_t>(TileElements()), block_table,
          static_cast<int32_t>(table_stride)};
}

Status DevicePool::Read(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> raw) const {
  const LaneUse lane(*this);
  cudaError_t error = cudaMemcpyAsync(lane->staging.as<void>(), Block(block, layer), lane->staging.bytes(), cudaMemcpyDeviceToHost, lane->stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(lane->stream);
  if (error != cudaSuccess) return CudaStatus(error, "reading a KV block from the card");
  TilesToRaw(lane->staging.as<uint8_t>(), raw.data(), shape_.kv_heads, tokens, shape_.head_dim);
  return Status::Ok();
}

Status DevicePool::Write(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> raw) {
  const LaneUse lane(*this);
  const bool full = tokens == kBlockTokens && PaddedHeadDim(static_cast<int>(shape_.head_dim)) == static_cast<int>(shape_.head_dim);
  if (!full) std::memset(lane->staging.as<void>(), 0, lane->staging.bytes());
  RawToTiles(raw.data(), lane->staging.as<uint8_t>(), shape_.kv_heads, tokens, shape_.head_dim);
  cudaError_t error = cudaMemcpyAsync(Block(block, layer), lane->staging.as<void>(), lane->staging.bytes(), cudaMemcpyHostToDevice, lane->stream);
  if (error == cudaSuccess) error = cudaStreamSynchronize(lane->stream);
  return CudaStatus(error, "writing a KV block to the card");
}

}  // namespace longshore::cuda
