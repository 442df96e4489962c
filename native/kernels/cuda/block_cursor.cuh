// Walks the blocks of one query block, its own first; a whole warp walks together.
#pragma once

#include <cstdint>

namespace longshore::cuda {

// Every block from the query block down to 0.
class DenseCursor {
 public:
  __device__ __forceinline__ DenseCursor(const uint32_t*, int query_block) : next_(query_block) {}
  __device__ __forceinline__ int Next() { return next_--; }

 private:
  int next_;
};

// The set bits of a mask of query_block + 1 bits: the query block's own first, then from 0 upwards, so that the sink is among the first.
// Lane i keeps word i of the 32 words being walked.
class MaskCursor {
 public:
  __device__ __forceinline__ MaskCursor(const uint32_t* mask, int query_block) : mask_(mask), query_block_(query_block), base_(0), own_(true) {
    Load();
  }
  // Past the last set bit it answers 0, so that a count that disagrees with the mask cannot read out of bounds.
  __device__ __forceinline__ int Next() {
    if (own_) {
      own_ = false;
      return query_block_;
    }
    unsigned lanes = __ballot_sync(0xffffffff, word_ != 0);
    while (lanes == 0 && base_ + 32 <= query_block_ >> 5) {
      base_ += 32;
      Load();
      lanes = __ballot_sync(0xffffffff, word_ != 0);
    }
    if (lanes == 0) return 0;
    const int source = __ffs(lanes) - 1;
    const uint32_t word = __shfl_sync(0xffffffff, word_, source);
    if (Lane() == source) word_ &= word_ - 1;
    return (base_ + source) * 32 + __ffs(word) - 1;
  }

 private:
  static __device__ __forceinline__ int Lane() { return static_cast<int>(threadIdx.x & 31); }
  __device__ __forceinline__ void Load() {
    const int word = base_ + Lane();
    word_ = word <= query_block_ >> 5 ? mask_[word] : 0;
    if (word == query_block_ >> 5) word_ &= ~(1u << (query_block_ & 31));
  }

  const uint32_t* mask_;
  int query_block_;
  int base_;
  bool own_;
  uint32_t word_;
};

}  // namespace longshore::cuda
