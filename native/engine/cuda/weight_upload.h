// Moves a file's tensors to the card: dequantized to bf16 (matrices) or f32 (norms), through pinned memory.
#pragma once

#include <cstdint>
#include <string>

#include <cuda_bf16.h>

#include "engine/cuda/memory.h"
#include "engine/formats/weights.h"
#include "engine/thread_pool.h"

namespace longshore::cuda {

class WeightUpload {
 public:
  WeightUpload(const ModelFile& file, ThreadPool& pool) : file_(file), pool_(pool) {}
  Status Open();

  // Rows of tensor `name` to `to` [rows, cols]. `rotated`: a Q or K matrix or bias, whose heads' rows are brought into half-split order
  // where the file has them for interleaved pairs. kCorrupt when the file lacks the tensor.
  Status Matrix(const std::string& name, bool rotated, __nv_bfloat16* to);
  Status Bias(const std::string& name, bool rotated, __nv_bfloat16* to);
  // The family's norm offset is added.
  Status Norm(const std::string& name, float* to);

 private:
  uint64_t SourceRow(uint64_t row, bool rotated) const;

  const ModelFile& file_;
  ThreadPool& pool_;
  PinnedMemory staging_;
};

}  // namespace longshore::cuda
