// Decode steps as captured CUDA graphs: everything from embeddings to drawn tokens in one launch, for a step of single tokens.
//
// One graph for each (class of batch size, class of context length), captured when its shape comes for the second time; the first runs as it
// is, so that libraries choose their kernels outside of a capture. A graph's inputs have fixed places, so a replay copies only
// tokens, positions, lengths and block tables. Rows past the batch are a sequence of one token in the pool's spare block.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>

#include "engine/cuda/device_forward.h"
#include "engine/cuda/memory.h"
#include "engine/engine.h"

namespace longshore::cuda {

class DecodeGraphs {
 public:
  static constexpr uint32_t kMaxRows = kLogitRows;  // larger steps run without a graph

  ~DecodeGraphs() { Clear(); }
  // `max_blocks`: of a sequence; `spare_block`: the pool's. `vocab`: for the places of results.
  Status Allocate(DeviceForward& forward, uint32_t max_blocks, uint32_t spare_block);
  void Clear();

  // Runs a step of single tokens; tokens(), logprobs() and workspace().logits then hold row i's for item i: the best token of each.
  Status Run(std::span<const StepItem> items, cudaStream_t stream);

  // Host copies, valid once the stream has been waited for.
  const int32_t* tokens() const { return results_.as<int32_t>(); }
  const float* logprobs() const { return results_.as<float>() + kMaxRows; }

 private:
  struct Head;                       // the fixed inputs besides block tables
  struct Shape {
    uint32_t rows, blocks;           // classes
    auto operator<=>(const Shape&) const = default;
  };
  Status Enqueue(const Shape& shape, cudaStream_t stream);
  Status Capture(const Shape& shape, cudaStream_t stream, cudaGraphExec_t* out);

  DeviceForward* forward_ = nullptr;
  uint32_t max_blocks_ = 0, spare_block_ = 0;
  PinnedMemory host_, results_;
  DeviceMemory device_, device_results_;
  Head* head_ = nullptr;
  int32_t* table_ = nullptr;         // host
  std::map<Shape, cudaGraphExec_t> graphs_;  // null: ran once
};

}  // namespace longshore::cuda
