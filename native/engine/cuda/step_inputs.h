// What a step's kernels read besides weights and KV, copied to the card in one piece.
#pragma once

#include <cstdint>
#include <span>

#include <cuda_runtime_api.h>

#include "engine/cuda/memory.h"
#include "engine/cuda/step_plan.h"

namespace longshore::cuda {

// Device pointers.
struct StepPointers {
  int32_t *tokens, *positions;          // [rows]
  int32_t* lengths;                     // [decodes]
  PrefillTile *tiles, *decode_tiles, *blocks;
  int32_t* wanted;                      // [wanted] rows
  int32_t* table;                       // [sequences][table_stride]
};

class StepInputs {
 public:
  // Room for one step of these limits; grows when a step has more tiles than usual (kOutOfMemory).
  Status Fit(const StepPlan& plan);
  // Copies the plan; `table_stride` is plan.max_blocks. The pointers are valid until the next call.
  Status Copy(const StepPlan& plan, std::span<const StepItem> items, cudaStream_t stream, StepPointers* out);

 private:
  static StepPointers Place(const StepPlan& plan, Parts* parts);
  PinnedMemory host_;
  DeviceMemory device_;
};

// Whether the card's kernel gives all that the item asks for: the best token, and its log-probability.
bool DrawsOnCard(const StepItem& item);

}  // namespace longshore::cuda
