// One weight matrix, packed for the kernels when the model is loaded (or, in exact mode, left in the file and dequantized panel
// by panel whenever it is used: the slow obvious twin).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/activations.h"
#include "engine/aligned_buffer.h"
#include "engine/formats/weights.h"
#include "engine/status.h"
#include "engine/thread_pool.h"
#include "kernels/kernels.h"

namespace longshore {

// Order of a Q or K matrix's rows: kUninterleave turns heads stored for interleaved RoPE pairs into half-split order. Scores do
// not change when queries and keys are permuted alike.
enum class RowOrder { kAsStored, kUninterleave };

class PackedMatrix {
 public:
  struct Options {
    RowOrder order = RowOrder::kAsStored;
    uint32_t head_dim = 0, rope_dims = 0;  // for kUninterleave
    bool exact = false;
  };

  // `bias`: [outputs] or null. The tensors must outlive the matrix in exact mode.
  Status Pack(const Tensor& weight, const Tensor* bias, const Options& options, ThreadPool& pool);

  uint32_t outputs() const { return outputs_; }
  uint32_t inputs() const { return inputs_; }
  uint32_t panels() const { return (outputs_ + kernels::kPanelOutputs - 1) / kernels::kPanelOutputs; }
  ActivationKind activation() const { return activation_; }
  uint64_t bytes() const { return memory_.size() + bias_.size() * sizeof(float); }
  // f32 values that Multiply needs as scratch: exact mode's dequantized panel.
  size_t scratch_floats() const { return exact_ ? size_t{inputs_ + 1} * kernels::kPanelOutputs + inputs_ : 0; }

  // out[r][n] (+)= w x + bias for rows [row, row + rows) of x and panels [panel, panel + count).
  // out: element (row 0 of x, output 0), [rows of x][out_stride], whole panels are written.
  void Multiply(const kernels::KernelTable& k, const Activations& x, uint32_t row, uint32_t rows, uint32_t panel, uint32_t count,
                float* out, size_t out_stride, bool accumulate, float* scratch) const;

 private:
  uint64_t SourceRow(uint64_t output) const;
  void PackPanel(uint32_t panel);
  void DequantizePanel(uint32_t panel, float* dst, float* row) const;

  const Tensor* weight_ = nullptr;  // exact mode
  Options options_;
  uint32_t outputs_ = 0, inputs_ = 0;
  bool exact_ = false;
  ActivationKind activation_ = ActivationKind::kFloat;
  kernels::QuantFormat format_{};
  kernels::FloatType float_type_ = kernels::FloatType::kF32;
  size_t panel_bytes_ = 0;
  AlignedBuffer memory_;
  std::vector<float> bias_;  // padded to whole panels, empty when there is none
};

// One product of a parallel phase.
struct Product {
  const PackedMatrix* weight;
  const Activations* x;
  float* out;
  size_t out_stride;
  bool accumulate = false;
};

// Runs products (with different outputs) over rows [0, rows) in parallel. `scratch`: one buffer per thread of the largest
// scratch_floats(). Stops early, leaving outputs undefined, once *cancel is non-zero (null: never).
void RunProducts(ThreadPool& pool, const kernels::KernelTable& k, std::span<const Product> products, uint32_t rows,
                 std::span<float* const> scratch, const std::atomic<int32_t>* cancel);

}  // namespace longshore
