#include "engine/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "engine/formats/dequantize.h"
#include "engine/quant_packing.h"

namespace longshore {
namespace {

using kernels::kPanelOutputs;

constexpr uint32_t kTaskRows = 240;  // activations of a task stay in the second-level cache; a multiple of every tile height

}  // namespace

uint64_t PackedMatrix::SourceRow(uint64_t output) const {
  if (options_.order == RowOrder::kAsStored) return output;
  const uint64_t head = output / options_.head_dim, i = output % options_.head_dim, half = options_.rope_dims / 2;
  if (i >= options_.rope_dims) return output;
  return head * options_.head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

Status PackedMatrix::Pack(const Tensor& weight, const Tensor* bias, const Options& options, ThreadPool& pool) {
  options_ = options;
  weight_ = &weight;
  outputs_ = static_cast<uint32_t>(weight.rows());
  inputs_ = static_cast<uint32_t>(weight.cols());
  exact_ = options.exact;
  if (bias) {
    bias_.assign(size_t{panels()} * kPanelOutputs, 0.f);
    std::vector<float> stored(outputs_);
    DequantizeRow(bias->dtype, bias->data, stored.data(), outputs_);
    for (uint32_t i = 0; i < outputs_; ++i) bias_[i] = stored[SourceRow(i)];
  }
  if (exact_) return Status::Ok();
  if (IsQuantized(weight.dtype)) {
    format_ = QuantFormatOf(weight.dtype);
    panel_bytes_ = inputs_ / format_.group * format_.group_bytes();
    activation_ = TraitsOf(weight.dtype).block_elements == 256 ? ActivationKind::kQuant256 : ActivationKind::kQuant32;
  } else {
    float_type_ = weight.dtype == DType::kF32   ? kernels::FloatType::kF32
                  : weight.dtype == DType::kF16 ? kernels::FloatType::kF16
                                                : kernels::FloatType::kBf16;
    panel_bytes_ = size_t{inputs_} * kPanelOutputs * TraitsOf(weight.dtype).block_bytes;
  }
  Status s = memory_.Allocate(uint64_t{panels()} * panel_bytes_, "packed weights");
  if (!s.ok()) return s;
  constexpr uint32_t kShare = 8;
  pool.Run((panels() + kShare - 1) / kShare, [&](uint32_t task, uint32_t) {
    for (uint32_t p = task * kShare; p < std::min(panels(), (task + 1) * kShare); ++p) PackPanel(p);
  });
  weight_ = nullptr;
  return Status::Ok();
}

void PackedMatrix::PackPanel(uint32_t panel) {
  uint8_t* dst = memory_.data() + panel * panel_bytes_;
  for (uint32_t lane = 0; lane < kPanelOutputs && panel * kPanelOutputs + lane < outputs_; ++lane) {
    const uint8_t* src = weight_->row(SourceRow(panel * kPanelOutputs + lane));
    if (activation_ != ActivationKind::kFloat) {
      PackQuantRow(weight_->dtype, src, inputs_, lane, dst);
    } else {
      const size_t size = TraitsOf(weight_->dtype).block_bytes;
      for (uint32_t k = 0; k < inputs_; ++k) std::memcpy(dst + (size_t{k} * kPanelOutputs + lane) * size, src + k * size, size);
    }
  }
}

void PackedMatrix::DequantizePanel(uint32_t panel, float* dst, float* row) const {
  for (uint32_t lane = 0; lane < kPanelOutputs; ++lane) {
    const uint32_t output = panel * kPanelOutputs + lane;
    if (output < outputs_) DequantizeRow(weight_->dtype, weight_->row(SourceRow(output)), row, inputs_);
    else std::fill_n(row, inputs_, 0.f);
    for (uint32_t k = 0; k < inputs_; ++k) dst[size_t{k} * kPanelOutputs + lane] = row[k];
  }
}

void PackedMatrix::Multiply(const kernels::KernelTable& k, const Activations& x, uint32_t row, uint32_t rows, uint32_t panel,
                            uint32_t count, float* out, size_t out_stride, bool accumulate, float* scratch) const {
  const auto bias = [&](uint32_t p) { return bias_.empty() ? nullptr : bias_.data() + size_t{p} * kPanelOutputs; };
  float* to = out + row * out_stride + size_t{panel} * kPanelOutputs;
  if (exact_) {
    for (uint32_t p = panel; p < panel + count; ++p, to += kPanelOutputs) {
      DequantizePanel(p, scratch, scratch + size_t{inputs_} * kPanelOutputs);
      k.multiply_float({kernels::FloatType::kF32, scratch, 0, 1, inputs_, x.row(row), x.stride(), rows, bias(p), to, out_stride, accumulate});
    }
    return;
  }
  const uint8_t* at = memory_.data() + panel * panel_bytes_;
  if (activation_ == ActivationKind::kFloat)
    k.multiply_float({float_type_, at, panel_bytes_, count, inputs_, x.row(row), x.stride(), rows, bias(panel), to, out_stride, accumulate});
  else
    k.multiply_quantized({format_, at, panel_bytes_, count, &x.quant(activation_), row, rows, bias(panel), to, out_stride, accumulate});
}

void RunProducts(ThreadPool& pool, const kernels::KernelTable& k, std::span<const Product> products, uint32_t rows,
                 std::span<float* const> scratch, const std::atomic<int32_t>* cancel) {
  constexpr size_t kMaxProducts = 4;
  struct Cut { uint32_t panels, row_chunks, first_task; } cuts[kMaxProducts];
  uint32_t tasks = 0;
  for (size_t i = 0; i < products.size(); ++i) {
    const PackedMatrix& w = *products[i].weight;
    const uint64_t per_panel = uint64_t{std::min(rows, kTaskRows)} * kPanelOutputs * w.inputs();
    const uint64_t most = std::max<uint64_t>(1, k.task_products / per_panel);
    const uint64_t fair = (w.panels() + pool.threads() * 8 - 1) / (pool.threads() * 8);  // eight shares per thread
    uint32_t panels = static_cast<uint32_t>(std::min<uint64_t>(most, std::max<uint64_t>(fair, 1)));
    if (panels >= 4) panels = panels / 4 * 4;
    cuts[i] = {panels, (rows + kTaskRows - 1) / kTaskRows, tasks};
    tasks += cuts[i].row_chunks * ((w.panels() + panels - 1) / panels);
  }
  pool.Run(tasks, [&](uint32_t task, uint32_t thread) {
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    size_t i = products.size() - 1;
    while (cuts[i].first_task > task) --i;
    const Product& p = products[i];
    const uint32_t local = task - cuts[i].first_task;
    const uint32_t row = local % cuts[i].row_chunks * kTaskRows, panel = local / cuts[i].row_chunks * cuts[i].panels;
    p.weight->Multiply(k, *p.x, row, std::min(kTaskRows, rows - row), panel, std::min(cuts[i].panels, p.weight->panels() - panel), p.out,
                       p.out_stride, p.accumulate, scratch[thread]);
  });
}

}  // namespace longshore
