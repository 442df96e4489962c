// The paged KV pool on the card (kernels/cuda/paged_kv.h says how a tile is stored; docs/design/0007).
//
// One region per layer; in it block after block: the tiles of the keys of all KV heads, then those of the values. So the blocks of a
// sequence lie near each other for the layer that reads them.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>

#include <cuda_runtime_api.h>

#include "engine/cuda/memory.h"
#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

class DevicePool {
 public:
  struct Shape {
    uint32_t blocks, layers, kv_heads, head_dim;
  };

  ~DevicePool() { Free(); }
  // One block more than asked for: the spare one that nobody's table names (block number `blocks`).
  Status Allocate(const Shape& shape);
  void Free();

  const Shape& shape() const { return shape_; }
  uint64_t bytes() const { return memory_.bytes(); }
  // A layer as its attention kernels see it, with this block table.
  PagedKv Layer(uint32_t layer, const int32_t* block_table, uint32_t table_stride) const;

  // Engine::ReadBlock and WriteBlock, arguments checked; any thread. Written blocks are zero past `tokens`.
  Status Read(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> raw) const;
  Status Write(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> raw);

 private:
  static constexpr size_t kLanes = 4;  // transfers at a time
  struct Lane {
    PinnedMemory staging;              // one block of one layer
    cudaStream_t stream = nullptr;
    bool busy = false;
  };
  class LaneUse;

  uint64_t TileElements() const { return static_cast<uint64_t>(longshore::cuda::TileElements(static_cast<int>(shape_.head_dim))); }
  uint64_t BlockElements() const { return 2 * shape_.kv_heads * TileElements(); }
  bf16* Block(uint32_t block, uint32_t layer) const {
    return memory_.as<bf16>() + (uint64_t{layer} * (shape_.blocks + 1) + block) * BlockElements();
  }

  Shape shape_{};
  DeviceMemory memory_;
  mutable std::array<Lane, kLanes> lanes_;
  mutable std::mutex mutex_;
  mutable std::condition_variable freed_;
};

}  // namespace longshore::cuda
