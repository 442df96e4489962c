#include "engine/sparse/attention_probe.h"

#include <algorithm>
#include <cmath>

#include "engine/sparse/block_attention.h"

namespace longshore {
namespace {

constexpr float kLowMass = 0.9f;

// A table even where all heads are dense: the units then run one by one, as the sparse ones do.
AttentionPolicy DenseHeads(uint32_t layers, uint32_t heads) {
  return {.min_tokens = 0, .layers = layers, .heads = heads, .table = std::vector<HeadPolicy>(size_t{layers} * heads), .decode = {}};
}

}  // namespace

Status AttentionProbe::Allocate(const SparseAttention::Shape& shape, std::vector<AttentionPolicy> policies, const MeasureRequest& request,
                                const KvPool& pool, uint32_t threads, uint32_t max_rows, uint32_t max_tokens) {
  shape_ = shape;
  maps_ = request.maps;
  every_ = std::max(request.every, 1u);
  const uint32_t layers = pool.shape().layers;
  for (const auto& [layer, head] : maps_)
    if (layer >= layers || head >= shape.heads)
      return {Code::kInvalidArgument, "the model has no head " + std::to_string(head) + " in layer " + std::to_string(layer)};
  policies_.assign(1, DenseHeads(layers, shape.heads));
  for (AttentionPolicy& p : policies) policies_.push_back(p.dense() ? DenseHeads(layers, shape.heads) : std::move(p));
  if (Status s = sparse_.Allocate(shape, policies_[0], pool, threads, max_tokens, policies_); !s.ok()) return s;
  sparse_.set_observer(this);
  reference_.resize(size_t{max_rows} * shape.heads * shape.head_dim);
  out_.resize(reference_.size());
  lse_.resize(size_t{max_rows} * shape.heads);
  mass_.resize(lse_.size());
  result_.policies = static_cast<uint32_t>(policies_.size() - 1);
  result_.layers = layers;
  result_.heads = shape.heads;
  result_.measures.assign(size_t{result_.policies} * layers * shape.heads, {});
  return Status::Ok();
}

void AttentionProbe::Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const AttentionItem& item, const float* q,
                         size_t q_stride, const std::atomic<int32_t>* cancel) {
  const size_t stride = size_t{shape_.heads} * shape_.head_dim;
  const uint32_t end = item.position + item.tokens;
  blocks_.clear();
  for (uint32_t b = item.position / kBlockTokens; b * kBlockTokens < end; ++b) {
    if (b % every_ != every_ - 1) continue;
    const uint32_t from = std::max(item.position, b * kBlockTokens), to = std::min(end, (b + 1) * kBlockTokens);
    blocks_.push_back({item.first_row + (from - item.position), to - from, from, item.block_table});
  }
  // A single row takes decode's way through the engine.
  std::erase_if(blocks_, [](const AttentionItem& b) { return b.tokens == 1; });
  if (blocks_.empty()) return;
  for (running_ = 0; running_ < policies_.size(); ++running_) {
    std::vector<float>& out = running_ == 0 ? reference_ : out_;
    sparse_.Use(policies_[running_]);
    sparse_.Plan(blocks_);
    sparse_.Run(threads, kernels, layer, q, q_stride, out.data(), stride, cancel);
    if (cancel && cancel->load(std::memory_order_relaxed) != 0) return;
    if (running_ > 0) Compare(running_ - 1, layer);
  }
  for (auto& [key, row] : rows_of_maps_) result_.maps.push_back(std::move(row));
  rows_of_maps_.clear();
}

bool AttentionProbe::Mapped(uint32_t layer, uint32_t head) const {
  return std::find(maps_.begin(), maps_.end(), std::pair{layer, head}) != maps_.end();
}

void AttentionProbe::Attended(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
  const float *m = scratch->sum, *l = scratch->sum + kBlockTokens;
  for (uint32_t r = 0; r < unit.rows; ++r) {
    const size_t i = (Row(unit) + r) * shape_.heads + unit.head;
    const float lse = m[r] + std::log2(l[r]);
    if (running_ == 0) lse_[i] = lse;
    else mass_[i] = std::min(1.f, std::exp2(lse - lse_[i]));
  }
  if (running_ == 0 && Mapped(layer.layer, unit.head)) MapMass(layer, unit, scratch);
}

void AttentionProbe::MapMass(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch) {
  BlockMapRow row{layer.layer, unit.head, unit.block, std::vector<float>(unit.block + 1), std::vector<uint8_t>(unit.block + 1, 1)};
  for (uint32_t b = 0; b <= unit.block; ++b) {
    const uint32_t physical = unit.item->block_table[b], kv_head = unit.head / layer.group, first = b * kBlockTokens;
    const void *k = layer.pool->KTile(physical, layer.layer, kv_head), *v = layer.pool->VTile(physical, layer.layer, kv_head);
    kernels::Attend a = UnitAttend(layer, unit, *scratch, scratch->part);
    a.tiles = 1;
    a.k_tiles = &k;
    a.v_tiles = &v;
    a.first_keys = &first;
    layer.kernels->attend[static_cast<size_t>(layer.kind)](a);
    double sum = 0;
    for (uint32_t r = 0; r < unit.rows; ++r)
      sum += static_cast<double>(a.l[r] * std::exp2(a.m[r] - lse_[(Row(unit) + r) * shape_.heads + unit.head]));
    row.mass[b] = static_cast<float>(sum / unit.rows);
  }
  const std::lock_guard lock(mutex_);
  rows_of_maps_[{unit.block, layer.layer, unit.head}] = std::move(row);
}

void AttentionProbe::Selected(uint32_t layer, const QueryBlock& unit, const Selection& selection) {
  if (running_ != 1 || !Mapped(layer, unit.head)) return;
  const std::lock_guard lock(mutex_);
  std::vector<uint8_t>& read = rows_of_maps_[{unit.block, layer, unit.head}].read;
  std::fill(read.begin(), read.end(), uint8_t{0});
  for (const uint32_t b : selection.always) read[b] = 1;
  for (const uint32_t b : selection.kept) read[b] = 1;
}

void AttentionProbe::Compare(uint32_t policy, uint32_t layer) {
  const uint32_t d = shape_.head_dim;
  for (uint32_t h = 0; h < shape_.heads; ++h) {
    HeadMeasure& measure = at(policy, layer, h);
    const SelectionCount& count = sparse_.counts().at(layer, h);
    measure.causal += static_cast<double>(count.causal);
    measure.computed += static_cast<double>(count.computed);
    measure.scanned += static_cast<double>(count.scanned);
    measure.ns += static_cast<double>(count.ns);
    for (const AttentionItem& block : blocks_) {
      // Blocks at or below min_tokens are dense.
      const bool dense = block.position + block.tokens <= policies_[running_].min_tokens / kBlockTokens * kBlockTokens;
      measure.rows += block.tokens;
      if (dense) measure.mass += block.tokens;
      for (uint32_t r = 0; r < block.tokens; ++r) {
        const size_t row = block.first_row + r, i = row * shape_.heads + h;
        const float *ours = &out_[i * d], *theirs = &reference_[i * d];
        double error = 0, norm = 0;
        for (uint32_t c = 0; c < d; ++c) {
          const double difference = dense ? 0.0 : static_cast<double>(ours[c]) - static_cast<double>(theirs[c]);
          error += difference * difference;
          norm += static_cast<double>(theirs[c]) * static_cast<double>(theirs[c]);
        }
        measure.error2 += error;
        measure.norm2 += norm;
        if (dense) continue;
        measure.mass += static_cast<double>(mass_[i]);
        measure.low += mass_[i] < kLowMass;
      }
      if (!dense) continue;
      const double entries = static_cast<double>(block.tokens) * (block.position + 1) + static_cast<double>(block.tokens) * (block.tokens - 1) / 2;
      measure.causal += entries;
      measure.computed += entries;
    }
  }
}

}  // namespace longshore
