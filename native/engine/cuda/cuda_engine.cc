#include "engine/cuda/cuda_engine.h"

#include <algorithm>
#include <chrono>

#include "engine/cores.h"
#include "engine/model_info.h"
#include "engine/sampler.h"
#include "engine/step_check.h"

namespace longshore::cuda {
namespace {

// Raised whenever a kernel's results change by a bit.
constexpr const char* kNumerics = "1";

constexpr uint32_t kMaxBatchTokens = 1u << 17;
constexpr uint32_t kMaxKvBlocks = 1u << 20;

Status CheckOptions(const EngineOptions& o) {
  if (o.kv_blocks == 0 || o.kv_blocks > kMaxKvBlocks) return {Code::kInvalidArgument, "kv_blocks must be between 1 and " + std::to_string(kMaxKvBlocks)};
  if (o.max_batch_tokens == 0 || o.max_batch_tokens > kMaxBatchTokens)
    return {Code::kInvalidArgument, "max_batch_tokens must be between 1 and " + std::to_string(kMaxBatchTokens)};
  if (o.exact) return {Code::kUnsupported, "the exact mode computes in f32 on the CPU: use backend cpu"};
  if (o.kv_dtype != KvDtype::kBf16) return {Code::kUnsupported, "the cuda backend keeps KV in bf16 only: use backend cpu for f32"};
  if (o.decode && o.decode->kind != DecodeKind::kDense) return {Code::kUnsupported, "the cuda backend decodes densely: leave the decode policy out, or use backend cpu"};
  return Status::Ok();
}

Status Cancelled() { return {Code::kCancelled, "the step was cancelled; submit its items again"}; }

}  // namespace

Result<std::unique_ptr<Engine>> CudaEngine::Open(const EngineOptions& options) {
  // The card first: where there is none, nothing else about this backend matters.
  Result<Card> card = FindCard();
  if (!card.ok()) return card.status();
  if (Status s = CheckOptions(options); !s.ok()) return s;
  auto engine = std::make_unique<CudaEngine>();
  if (Status s = engine->Load(options, card.value()); !s.ok()) return s;
  return std::unique_ptr<Engine>(std::move(engine));
}

Status CudaEngine::Load(const EngineOptions& options, const Card& card) {
  options_ = options;
  card_ = card;
  ThreadPool threads(options.threads ? std::min(options.threads, ThreadPool::kMaxThreads) : std::min(AvailableCores(), ThreadPool::kMaxThreads));
  Result<std::unique_ptr<DeviceModel>> model = DeviceModel::Load(options.model_path, threads);
  if (!model.ok()) return model.status();
  model_ = std::move(model.value());
  const Hyperparameters& h = model_->h();
  Result<AttentionPolicy> policy = LoadPolicy(options.policy, h.layers, h.heads);
  if (!policy.ok()) return policy.status();
  policy_ = std::move(policy.value());
  Result<std::vector<LayerPolicy>> layers = LayerPolicies(policy_, h.layers);
  if (!layers.ok()) return layers.status();
  if (Status s = Describe(); !s.ok()) return s;
  const uint32_t blocks = std::min(options.kv_blocks, (info_.context_length + longshore::kBlockTokens - 1) / longshore::kBlockTokens);
  if (Status s = pool_.Allocate({options.kv_blocks, h.layers, h.kv_heads, h.head_dim}); !s.ok()) return s;
  forward_ = std::make_unique<DeviceForward>();
  sparse_layers_ = static_cast<uint32_t>(std::count_if(layers.value().begin(), layers.value().end(), [](const LayerPolicy& p) { return p.sparse; }));
  if (Status s = forward_->Allocate(*model_, pool_, card_, std::move(layers.value()), {options.max_batch_tokens, blocks, sparse_layers_ > 0}); !s.ok()) return s;
  if (Status s = graphs_.Allocate(*forward_, blocks, options.kv_blocks); !s.ok()) return s;
  if (Status s = row_.Allocate(std::max<uint64_t>(h.vocab, 2 * kLogitRows) * sizeof(float), "logits"); !s.ok()) return s;
  if (Status s = drawn_.Allocate(2 * kLogitRows * sizeof(int32_t), "drawn tokens"); !s.ok()) return s;
  stats_.kv_pool_bytes = pool_.bytes();
  stats_.weight_bytes = model_->bytes();
  stats_.scratch_bytes = forward_->workspace().memory.bytes();
  return CudaStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream");
}

Status CudaEngine::Describe() {
  const Hyperparameters& h = model_->h();
  const ModelFile* file = model_->file();
  info_ = InfoOfShape(h, model_->family().name);
  info_.weights_digest = options_.model_path;
  info_.config_json = "{\"model\":\"random\"}";
  info_.numerics = "cuda-sm" + std::to_string(card_.capability) + "-" + kNumerics;
  info_.weights_format = "random:bf16";
  info_.weight_bytes = model_->bytes();
  info_.kv_bytes_per_token = uint64_t{2} * h.layers * h.kv_heads * h.head_dim * sizeof(bf16);
  info_.backend = "cuda";
  info_.policy_json = policy_.CanonicalJson();
  info_.dense_tokens = 0;  // single tokens and chunks take different products: only a block that one step computes whole has its bits
  if (file == nullptr) return Status::Ok();
  Result<std::string> digest = file->WeightsDigest();
  if (!digest.ok()) return digest.status();
  info_.weights_digest = digest.value();
  info_.config_json = file->config_json();
  info_.weights_format = file->format();
  info_.weight_bytes = file->weight_bytes();
  return Status::Ok();
}

Status CudaEngine::Step(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  std::shared_lock life(life_);
  std::lock_guard one(step_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  outputs->clear();
  if (Status s = CheckStep(items, {info_.vocab, info_.context_length, options_.kv_blocks, options_.max_batch_tokens}); !s.ok()) return s;
  if (items.size() > kMaxSequences)
    return {Code::kInvalidArgument, std::to_string(items.size()) + " items in one step; the cuda backend takes up to " + std::to_string(kMaxSequences)};
  if (items.empty()) return Status::Ok();
  const auto start = std::chrono::steady_clock::now();
  const Status s = RunStep(items, outputs, cancel);
  const uint64_t ns = static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  const bool decode = std::all_of(items.begin(), items.end(), [](const StepItem& i) { return i.tokens.size() == 1; });
  std::lock_guard lock(stats_mutex_);
  stats_.steps++;
  if (s.ok())
    for (const StepItem& item : items) stats_.tokens += item.tokens.size();
  if (s.code() == Code::kCancelled) stats_.aborted_steps++;
  (decode ? stats_.decode_ns : stats_.prefill_ns) += ns;
  return s;
}

Status CudaEngine::RunStep(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  // The caller may be any thread of a pool: a thread's current card is its own.
  if (Status s = CudaStatus(cudaSetDevice(card_.device), "choosing the card"); !s.ok()) return s;
  outputs->resize(items.size());
  const bool decode = items.size() <= DecodeGraphs::kMaxRows && std::all_of(items.begin(), items.end(), [](const StepItem& i) { return i.tokens.size() == 1 && i.sample; });
  if (!decode) return RunMixed(items, outputs, cancel);
  if (cancel != nullptr && cancel->load(std::memory_order_relaxed) != 0) return Cancelled();
  return RunDecode(items, outputs);
}

Status CudaEngine::RunDecode(std::span<const StepItem> items, std::vector<StepOutput>* outputs) {
  if (Status s = graphs_.Run(items, stream_); !s.ok()) return s;
  if (Status s = CudaStatus(cudaStreamSynchronize(stream_), "a decode step"); !s.ok()) return s;
  for (uint32_t i = 0; i < items.size(); ++i) {
    StepOutput& out = (*outputs)[i];
    if (!DrawsOnCard(items[i])) {
      if (Status s = SampleOnHost(items[i], i, &out); !s.ok()) return s;
      continue;
    }
    if (graphs_.tokens()[i] < 0) return {Code::kInternal, "a logit is not a number or +infinity"};
    out.token = graphs_.tokens()[i];
    if (items[i].sampling.logprobs) out.logprob = graphs_.logprobs()[i];
  }
  return Status::Ok();
}

Status CudaEngine::RunMixed(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  const uint64_t sparse_after = policy_.dense() ? UINT64_MAX : policy_.min_tokens;
  const StepPlan plan = PlanStep(items, sparse_after, kGroupSequences);
  if (Status s = inputs_.Fit(plan); !s.ok()) return s;
  StepPointers at;
  if (Status s = inputs_.Copy(plan, items, stream_, &at); !s.ok()) return s;
  CountCausal(plan);
  const ForwardStep step = {plan.prefill_rows, plan.prefill_sequences, plan.decodes, plan.max_length, plan.max_blocks, plan.groups, at};
  if (Status s = forward_->Run(step, cancel, stream_); !s.ok()) {
    cudaStreamSynchronize(stream_);
    return s;
  }
  if (Status s = Finish(items, plan, at, outputs, cancel); !s.ok()) {
    cudaStreamSynchronize(stream_);
    return s;
  }
  return CudaStatus(cudaStreamSynchronize(stream_), "a step");
}

Status CudaEngine::Finish(std::span<const StepItem> items, const StepPlan& plan, const StepPointers& at, std::vector<StepOutput>* outputs,
                          const std::atomic<int32_t>* cancel) {
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].want_logits) (*outputs)[i].logits.resize(items[i].tokens.size() * info_.vocab);
  const uint32_t total = static_cast<uint32_t>(plan.wanted.size());
  for (uint32_t first = 0; first < total; first += kLogitRows) {
    const uint32_t count = std::min(kLogitRows, total - first);
    if (Status s = forward_->Logits(at.wanted + first, count, stream_); !s.ok()) return s;
    int32_t* const tokens = drawn_.as<int32_t>();
    if (Status s = forward_->Draw(count, tokens, reinterpret_cast<float*>(tokens) + kLogitRows, stream_); !s.ok()) return s;
    cudaError_t error = cudaMemcpyAsync(row_.as<void>(), tokens, drawn_.bytes(), cudaMemcpyDeviceToHost, stream_);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream_);
    if (error != cudaSuccess) return CudaStatus(error, "a step");
    std::vector<int32_t> drawn(row_.as<int32_t>(), row_.as<int32_t>() + kLogitRows);
    std::vector<float> logprobs(row_.as<float>() + kLogitRows, row_.as<float>() + 2 * kLogitRows);
    for (uint32_t i = 0; i < count; ++i) {
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed) != 0) return Cancelled();
      const StepPlan::Wanted& wanted = plan.wanted[first + i];
      const StepItem& item = items[wanted.item];
      StepOutput& out = (*outputs)[wanted.item];
      const bool last = wanted.token + 1 == item.tokens.size();
      if (item.want_logits) {
        const float* row = forward_->workspace().logits + uint64_t{i} * info_.vocab;
        float* to = out.logits.data() + uint64_t{wanted.token} * info_.vocab;
        if (Status s = CudaStatus(cudaMemcpy(to, row, info_.vocab * sizeof(float), cudaMemcpyDeviceToHost), "copying logits"); !s.ok()) return s;
      }
      if (!item.sample || !last) continue;
      if (!DrawsOnCard(item)) {
        if (Status s = SampleOnHost(item, i, &out); !s.ok()) return s;
        continue;
      }
      if (drawn[i] < 0) return {Code::kInternal, "a logit is not a number or +infinity"};
      out.token = drawn[i];
      if (item.sampling.logprobs) out.logprob = logprobs[i];
    }
  }
  return Status::Ok();
}

// Whole blocks, as the card's kernels read them.
void CudaEngine::CountCausal(const StepPlan& plan) {
  uint64_t blocks = 0;
  for (const StepPlan::Group& group : plan.groups)
    for (uint32_t t = 0; t < group.sparse_tiles; ++t) blocks += static_cast<uint64_t>(plan.tiles[group.first_tile + t].query_block) + 1;
  std::lock_guard lock(stats_mutex_);
  stats_.causal_entries += blocks * sparse_layers_ * info_.heads * longshore::kBlockTokens * longshore::kBlockTokens;
}

// From row `row` of the logits computed last.
Status CudaEngine::SampleOnHost(const StepItem& item, uint32_t row, StepOutput* out) {
  const float* from = forward_->workspace().logits + uint64_t{row} * info_.vocab;
  if (Status s = CudaStatus(cudaMemcpy(row_.as<void>(), from, info_.vocab * sizeof(float), cudaMemcpyDeviceToHost), "copying logits"); !s.ok()) return s;
  return Sample({row_.as<float>(), info_.vocab}, item.sampling, item.history, uint64_t{item.position} + item.tokens.size(), out);
}

Status CudaEngine::ReadBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> dst) const {
  std::shared_lock life(life_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  if (Status s = CheckBlockAccess({options_.kv_blocks, info_.layers, info_.kv_bytes_per_token}, block, layer, tokens, dst.size()); !s.ok()) return s;
  if (Status s = CudaStatus(cudaSetDevice(card_.device), "choosing the card"); !s.ok()) return s;
  return pool_.Read(block, layer, tokens, dst);
}

Status CudaEngine::WriteBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> src) {
  std::shared_lock life(life_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  if (Status s = CheckBlockAccess({options_.kv_blocks, info_.layers, info_.kv_bytes_per_token}, block, layer, tokens, src.size()); !s.ok()) return s;
  if (Status s = CudaStatus(cudaSetDevice(card_.device), "choosing the card"); !s.ok()) return s;
  return pool_.Write(block, layer, tokens, src);
}

EngineStats CudaEngine::stats() const {
  std::shared_lock life(life_);
  std::lock_guard lock(stats_mutex_);
  EngineStats stats = stats_;
  unsigned long long halves[2] = {};  // listed, read
  const unsigned long long* counter = closed_ ? nullptr : forward_->workspace().half_blocks;
  if (counter != nullptr && cudaMemcpy(halves, counter, sizeof halves, cudaMemcpyDeviceToHost) == cudaSuccess) {
    constexpr uint64_t kEntries = uint64_t{longshore::kBlockTokens / 2} * longshore::kBlockTokens;
    stats.computed_entries = halves[1] * kEntries;
    stats.scanned_entries = (halves[0] - halves[1]) * kEntries;
  }
  return stats;
}

void CudaEngine::Close() {
  std::unique_lock life(life_);
  if (closed_) return;
  closed_ = true;
  graphs_.Clear();
  forward_.reset();
  model_.reset();
  pool_.Free();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  stream_ = nullptr;
}

}  // namespace longshore::cuda
