// One table of all kernels for the vector type S.
#pragma once

#include "kernels/attention.inl.h"
#include "kernels/elementwise.inl.h"
#include "kernels/fingerprint.inl.h"
#include "kernels/product.inl.h"
#include "kernels/look.inl.h"
#include "kernels/selection.inl.h"
#include "kernels/sketch.inl.h"

namespace longshore::kernels {
namespace {

template <class S>
constexpr KernelTable MakeTable() {
  return {
      .isa = S::kName,
      .fingerprint = Fingerprint<S>,
      .known_fingerprint = S::kFingerprint,
      .task_products = S::kTaskProducts,
      .multiply_quantized = MultiplyQuantized<S>,
      .multiply_float = MultiplyFloat<S>,
      .attend = {AttendSplit<S, KvKind::kBf16>, AttendSplit<S, KvKind::kBf16Exact>, AttendSplit<S, KvKind::kF32>},
      .attend_reads_bf16 = S::kBf16Dot,
      .score = {ScoreRows<S, KvKind::kBf16>, ScoreRows<S, KvKind::kBf16Exact>, ScoreRows<S, KvKind::kF32>},
      .energies = Energies<S>,
      .encode_keys = {EncodeKeys<S, KvKind::kBf16>, EncodeKeys<S, KvKind::kBf16>, EncodeKeys<S, KvKind::kF32>},
      .quantize_rows = QuantizeRows<S>,
      .look = LookAt<S>,
      .keep_by_mass = KeepByMass<S>,
      .look_lines = LookLines<S>,
      .merge = MergeParts<S>,
      .scan_sketches = ScanSketches<S>,
      .count_at_least = CountAtLeast<S>,
      .list_at_least = ListAtLeast<S>,
      .dot_bf16 = DotBf16<S>,
      .attend_keys = AttendKeyList<S>,
      .rms_norm = RmsNorm<S>,
      .quantize_32 = Quantize32<S>,
      .quantize_256 = Quantize256<S>,
      .swiglu = SwiGlu<S>,
      .geglu = GeGlu<S>,
      .rotate = Rotate<S>,
      .to_bf16 = ToBf16<S>,
  };
}

}  // namespace
}  // namespace longshore::kernels
