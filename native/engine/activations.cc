#include "engine/activations.h"

namespace longshore {
namespace {

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

}  // namespace

Status Activations::Allocate(uint32_t max_rows, uint32_t max_inputs, const char* purpose) {
  const uint64_t k = RoundUp(max_inputs, 256), n = max_rows;
  const uint64_t floats = n * k * 4, quants = n * k, per_32 = n * (k / 32) * 4, per_16 = n * (k / 16) * 4;
  Status s = memory_.Allocate(floats + 2 * (quants + 3 * per_32 + per_16) + 64, purpose);
  if (!s.ok()) return s;
  Carver carver(memory_);
  floats_ = carver.Take<float>(n * k);
  for (kernels::QuantRows& q : quant_) {
    q.q = carver.Take<int8_t>(n * k);
    q.scale = carver.Take<float>(n * (k / 32));
    q.sum32 = carver.Take<int32_t>(n * (k / 32));
    q.scaled_sum = carver.Take<float>(n * (k / 32));
    q.sum16 = carver.Take<int32_t>(n * (k / 16));
  }
  return Status::Ok();
}

void Activations::Shape(uint32_t k) {
  stride_ = RoundUp(k, 16);
  quant_[0].k = quant_[1].k = k;
}

void Activations::Quantize(const kernels::KernelTable& kernels, ActivationKind kind, uint32_t r) {
  if (kind == ActivationKind::kQuant32) kernels.quantize_32(row(r), r, &quant_[0]);
  if (kind == ActivationKind::kQuant256) kernels.quantize_256(row(r), r, &quant_[1]);
}

}  // namespace longshore
