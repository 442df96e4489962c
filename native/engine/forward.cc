#include "engine/forward.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "engine/sparse/attention_probe.h"

namespace longshore {
namespace {

constexpr uint32_t kRowShare = 8;  // rows of an element-wise task

constexpr size_t RoundUp(size_t x, size_t to) { return (x + to - 1) / to * to; }

}  // namespace

Status Forward::Allocate(const Model& model, KvPool& kv, ThreadPool& threads, const kernels::KernelTable& kernels,
                         uint32_t max_tokens, const AttentionPolicy& policy, const DecodePolicy& decode, bool exact) {
  model_ = &model;
  kv_ = &kv;
  threads_ = &threads;
  kernels_ = &kernels;
  const Hyperparameters& h = model.h();
  const size_t q = RoundUp(size_t{h.heads} * h.head_dim, 16), one_kv = RoundUp(size_t{h.kv_heads} * h.head_dim, 16);
  hidden_stride_ = RoundUp(h.hidden, 16);
  k_offset_ = q;
  v_offset_ = q + one_kv;
  qkv_stride_ = q + 2 * one_kv;
  mlp_stride_ = RoundUp(h.intermediate, 16);
  vocab_stride_ = RoundUp(h.vocab, 16);
  const size_t angles = RoundUp(size_t{max_tokens} * model.rope().half(), 16), per_thread = RoundUp(model.scratch_floats(), 16);
  const size_t ropes = h.SlidesAt(0) ? 2 : 1, branch = model.family().post_norms ? hidden_stride_ : 0;
  const size_t floats = max_tokens * (hidden_stride_ + branch + qkv_stride_ + 2 * mlp_stride_) + 2 * ropes * angles + kLogitRows * vocab_stride_ +
                        threads.threads() * per_thread;
  if (Status s = memory_.Allocate(floats * sizeof(float), "activations"); !s.ok()) return s;
  Carver carver(memory_);
  hidden_ = carver.Take<float>(max_tokens * hidden_stride_);
  qkv_ = carver.Take<float>(max_tokens * qkv_stride_);
  gate_ = carver.Take<float>(max_tokens * mlp_stride_);
  up_ = carver.Take<float>(max_tokens * mlp_stride_);
  branch_ = branch > 0 ? carver.Take<float>(max_tokens * branch) : nullptr;
  for (size_t i = 0; i < ropes; ++i) {
    cos_[i] = carver.Take<float>(angles);
    sin_[i] = carver.Take<float>(angles);
  }
  logits_ = carver.Take<float>(kLogitRows * vocab_stride_);
  scratch_.clear();
  for (uint32_t t = 0; t < threads.threads(); ++t) scratch_.push_back(carver.Take<float>(per_thread));
  if (Status s = normed_.Allocate(max_tokens, h.hidden, "activations"); !s.ok()) return s;
  if (Status s = attended_.Allocate(max_tokens, h.heads * h.head_dim, "activations"); !s.ok()) return s;
  if (Status s = gated_.Allocate(max_tokens, h.intermediate, "activations"); !s.ok()) return s;
  normed_.Shape(h.hidden);
  attended_.Shape(h.heads * h.head_dim);
  gated_.Shape(h.intermediate);
  const uint64_t pool_tokens = uint64_t{kv.shape().blocks} * kBlockTokens;
  const uint32_t context = static_cast<uint32_t>(std::min<uint64_t>(h.context_length, pool_tokens));
  constexpr double kLog2e = 1.4426950408889634;
  const float scale = static_cast<float>(h.query_scale > 0.0 ? kLog2e * h.query_scale : kLog2e / std::sqrt(static_cast<double>(h.head_dim)));
  if (Status s = sparse_.Allocate({h.heads, h.kv_heads, h.head_dim, exact, scale}, policy, kv, threads.threads(), context); !s.ok()) return s;
  if (Status s = sketches_.Allocate({h.heads, h.kv_heads, h.head_dim, scale}, decode.kind == DecodeKind::kGraph ? DecodePolicy{} : decode, kv, threads.threads(), context); !s.ok()) return s;
  if (Status s = graph_.Allocate({h.heads, h.kv_heads, h.head_dim, scale}, decode, kv, threads.threads()); !s.ok()) return s;
  return attention_.Allocate({h.heads, h.kv_heads, h.head_dim, exact, h.query_scale, h.SlidesAt(0) ? h.sliding_window : 0}, kv, threads.threads(), context);
}

uint64_t Forward::scratch_bytes() const {
  return memory_.size() + normed_.bytes() + attended_.bytes() + gated_.bytes() + attention_.bytes() + sparse_.bytes() + sketches_.bytes() + graph_.bytes();
}

DecodeStats Forward::decode_stats() const {
  const DecodeCounts& c = graph_.counts().keys > 0 ? graph_.counts() : sketches_.counts();
  return {c.keys, c.scanned, c.rescored, c.kept, c.bytes, c.dense_bytes, c.mass_kept, c.measured, graph_.segments().build_ns(), graph_.segments().bytes()};
}

template <typename Fn>
void Forward::ForRows(uint32_t rows, const Fn& fn) {
  threads_->Run((rows + kRowShare - 1) / kRowShare, [&](uint32_t task, uint32_t) {
    if (Cancelled()) return;
    for (uint32_t r = task * kRowShare; r < std::min(rows, (task + 1) * kRowShare); ++r) fn(r);
  });
}

void Forward::NormAndQuantize(const std::vector<float>& norm, std::span<const PackedMatrix* const> matrices, const float* x, uint32_t row) {
  kernels_->rms_norm(x, norm.data(), model_->h().hidden, model_->h().rms_eps, normed_.row(row));
  bool done[3] = {};
  for (const PackedMatrix* m : matrices) {
    bool& quantized = done[static_cast<size_t>(m->activation())];
    if (!quantized) normed_.Quantize(*kernels_, m->activation(), row);
    quantized = true;
  }
}

bool Forward::Run(const ForwardBatch& batch, const std::atomic<int32_t>* cancel) {
  const uint32_t rows = static_cast<uint32_t>(batch.tokens.size());
  const uint32_t half = model_->rope().half();
  cancel_ = cancel;
  sparse_.Plan(batch.items);
  sketches_.Plan(sparse_.dense_items());
  graph_.Plan(sketches_.dense_items());
  const uint32_t dense_layers = std::min(std::max(sketches_.dense_layers(), graph_.dense_layers()), model_->h().layers);
  attention_.Plan(dense_layers > 0 ? sparse_.dense_items() : graph_.dense_items(), batch.items, threads_->threads());
  ForRows(rows, [&](uint32_t r) {
    model_->Embed(batch.tokens[r], hidden_ + r * hidden_stride_);
    model_->rope().Angles(batch.positions[r], cos_[0] + size_t{r} * half, sin_[0] + size_t{r} * half);
    if (cos_[1] != nullptr) model_->local_rope().Angles(batch.positions[r], cos_[1] + size_t{r} * half, sin_[1] + size_t{r} * half);
  });
  for (uint32_t layer = 0; layer < model_->h().layers; ++layer) {
    if (layer == dense_layers && layer > 0) attention_.Plan(graph_.dense_items(), batch.items, threads_->threads());
    AttentionBlock(layer, batch);
    MlpBlock(layer, rows);
    if (Cancelled()) return false;
  }
  return true;
}

// Norms, rotates and stores a row's query and key heads (the query stays in qkv_).
void Forward::RotateAndStore(uint32_t layer, const ForwardBatch& batch, uint32_t row) {
  const Hyperparameters& h = model_->h();
  const Layer& w = model_->layers()[layer];
  const uint32_t half = model_->rope().half();
  const bool sliding = h.SlidesAt(layer);
  const float* cos = cos_[sliding] + size_t{row} * half;
  const float* sin = sin_[sliding] + size_t{row} * half;
  float* q = qkv_ + row * qkv_stride_;
  float* k = q + k_offset_;
  const auto rotate = [&](float* x, uint32_t heads, const std::vector<float>& norm) {
    for (uint32_t i = 0; i < heads; ++i, x += h.head_dim) {
      if (!norm.empty()) kernels_->rms_norm(x, norm.data(), h.head_dim, h.rms_eps, x);
      kernels_->rotate(x, cos, sin, half);
    }
  };
  rotate(q, h.heads, w.q_norm);
  rotate(k, h.kv_heads, w.k_norm);
  const auto item = std::prev(std::upper_bound(batch.items.begin(), batch.items.end(), row,
                                               [](uint32_t r, const AttentionItem& i) { return r < i.first_row; }));
  const uint32_t position = batch.positions[row];
  kv_->Write(item->block_table[position / kBlockTokens], layer, position % kBlockTokens, k, q + v_offset_);
  if (!sliding) graph_.Record(item->block_table[position / kBlockTokens], layer, position % kBlockTokens, q);
}

void Forward::AttentionBlock(uint32_t layer, const ForwardBatch& batch) {
  const Layer& w = model_->layers()[layer];
  const uint32_t rows = static_cast<uint32_t>(batch.tokens.size());
  const PackedMatrix* const inputs[] = {&w.q, &w.k, &w.v};
  ForRows(rows, [&](uint32_t r) { NormAndQuantize(w.attention_norm, inputs, hidden_ + r * hidden_stride_, r); });
  const Product qkv[] = {{&w.q, &normed_, qkv_, qkv_stride_},
                         {&w.k, &normed_, qkv_ + k_offset_, qkv_stride_},
                         {&w.v, &normed_, qkv_ + v_offset_, qkv_stride_}};
  RunProducts(*threads_, *kernels_, qkv, rows, scratch_, cancel_);
  ForRows(rows, [&](uint32_t r) { RotateAndStore(layer, batch, r); });
  if (query_observer_) query_observer_(layer, batch, qkv_, qkv_stride_);
  const bool sliding = model_->h().SlidesAt(layer);
  const auto start = std::chrono::steady_clock::now();
  attention_.Run(*threads_, *kernels_, layer, sliding, qkv_, qkv_stride_, attended_.row(0), attended_.stride(), cancel_);
  if (!sliding && !sparse_.empty()) sparse_.Run(*threads_, *kernels_, layer, qkv_, qkv_stride_, attended_.row(0), attended_.stride(), cancel_);
  if (!sliding && !sketches_.empty(layer)) sketches_.Run(*threads_, *kernels_, layer, qkv_, qkv_stride_, attended_.row(0), attended_.stride(), cancel_);
  if (!sliding && !graph_.empty(layer)) graph_.Run(*threads_, *kernels_, layer, qkv_, qkv_stride_, attended_.row(0), attended_.stride(), cancel_);
  attention_ns_ += static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  if (probe_ && !sliding) probe_->Run(*threads_, *kernels_, layer, batch.items.front(), qkv_, qkv_stride_, cancel_);
  if (w.o.activation() != ActivationKind::kFloat)
    ForRows(rows, [&](uint32_t r) { attended_.Quantize(*kernels_, w.o.activation(), r); });
  Add(w.o, attended_, rows, w.post_attention_norm);
}

void Forward::MlpBlock(uint32_t layer, uint32_t rows) {
  const Layer& w = model_->layers()[layer];
  const PackedMatrix* const inputs[] = {&w.gate, &w.up};
  ForRows(rows, [&](uint32_t r) { NormAndQuantize(w.mlp_norm, inputs, hidden_ + r * hidden_stride_, r); });
  const Product gate_up[] = {{&w.gate, &normed_, gate_, mlp_stride_}, {&w.up, &normed_, up_, mlp_stride_}};
  RunProducts(*threads_, *kernels_, gate_up, rows, scratch_, cancel_);
  const auto gate = model_->family().gate == Gate::kGelu ? kernels_->geglu : kernels_->swiglu;
  ForRows(rows, [&](uint32_t r) {
    gate(gate_ + r * mlp_stride_, up_ + r * mlp_stride_, static_cast<uint32_t>(mlp_stride_), gated_.row(r));
    gated_.Quantize(*kernels_, w.down.activation(), r);
  });
  Add(w.down, gated_, rows, w.post_mlp_norm);
}

// hidden += weight x, by way of the norm where the family has one.
void Forward::Add(const PackedMatrix& weight, Activations& x, uint32_t rows, const std::vector<float>& post_norm) {
  const bool direct = post_norm.empty();
  const Product product[] = {{&weight, &x, direct ? hidden_ : branch_, hidden_stride_, direct}};
  RunProducts(*threads_, *kernels_, product, rows, scratch_, cancel_);
  if (direct) return;
  const uint32_t n = model_->h().hidden;
  ForRows(rows, [&](uint32_t r) {
    float* to = hidden_ + r * hidden_stride_;
    float* from = branch_ + r * hidden_stride_;
    kernels_->rms_norm(from, post_norm.data(), n, model_->h().rms_eps, from);
    for (uint32_t i = 0; i < n; ++i) to[i] += from[i];
  });
}

bool Forward::Logits(std::span<const uint32_t> rows, const std::function<void(size_t, const float*)>& use, const std::atomic<int32_t>* cancel) {
  cancel_ = cancel;
  const PackedMatrix* const output[] = {&model_->output()};
  for (size_t first = 0; first < rows.size(); first += kLogitRows) {
    const uint32_t count = static_cast<uint32_t>(std::min<size_t>(kLogitRows, rows.size() - first));
    for (uint32_t i = 0; i < count; ++i)
      NormAndQuantize(model_->output_norm(), output, hidden_ + rows[first + i] * hidden_stride_, i);
    const Product product[] = {{output[0], &normed_, logits_, vocab_stride_}};
    RunProducts(*threads_, *kernels_, product, count, scratch_, cancel_);
    if (Cancelled()) return false;
    for (uint32_t i = 0; i < count; ++i) use(first + i, logits_ + i * vocab_stride_);
  }
  return true;
}

}  // namespace longshore
