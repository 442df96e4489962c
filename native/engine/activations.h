// The inputs of weight matrices: rows of f32, and the same rows quantized the way a matrix's type asks for.
#pragma once

#include <cstdint>

#include "engine/aligned_buffer.h"
#include "engine/status.h"
#include "kernels/kernels.h"

namespace longshore {

enum class ActivationKind {
  kFloat,     // f32, for float weights and in exact mode
  kQuant32,   // a scale per 32 inputs, for Q4_0 ... Q8_0
  kQuant256,  // a scale per 256 inputs, for K-quants
};

class Activations {
 public:
  // Room for max_rows rows of up to max_inputs values.
  Status Allocate(uint32_t max_rows, uint32_t max_inputs, const char* purpose);
  uint64_t bytes() const { return memory_.size(); }

  // Rows now have k inputs each, at floats(); row stride: stride().
  void Shape(uint32_t k);
  uint32_t inputs() const { return quant_[0].k; }
  size_t stride() const { return stride_; }
  float* row(uint32_t r) { return floats_ + r * stride_; }
  const float* row(uint32_t r) const { return floats_ + r * stride_; }

  // Quantizes a row of floats(); a no-op for kFloat.
  void Quantize(const kernels::KernelTable& kernels, ActivationKind kind, uint32_t r);
  const kernels::QuantRows& quant(ActivationKind kind) const { return quant_[kind == ActivationKind::kQuant256]; }

 private:
  AlignedBuffer memory_;
  float* floats_ = nullptr;
  size_t stride_ = 0;
  kernels::QuantRows quant_[2] = {};  // per 32, per 256
};

}  // namespace longshore
