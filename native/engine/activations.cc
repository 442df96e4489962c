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
  uint8_t* p = memory_.data();
  const auto take = [&p](uint64_t bytes) {
    uint8_t* at = p;
    p += bytes;
    return at;
  };
  floats_ = reinterpret_cast<float*>(take(floats));
  for (kernels::QuantRows& q : quant_) {
    q.q = reinterpret_cast<int8_t*>(take(quants));
    q.scale = reinterpret_cast<float*>(take(per_32));
    q.sum32 = reinterpret_cast<int32_t*>(take(per_32));
    q.scaled_sum = reinterpret_cast<float*>(take(per_32));
    q.sum16 = reinterpret_cast<int32_t*>(take(per_16));
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
