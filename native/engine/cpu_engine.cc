#include "engine/cpu_engine.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <system_error>

#include "engine/cores.h"
#include "engine/model_info.h"
#include "engine/sampler.h"
#include "engine/sparse/attention_probe.h"
#include "engine/step_check.h"

namespace longshore {
namespace {

// Raised whenever the results of any CPU path change by a bit; kernels_elementwise_test notices.
constexpr const char* kNumerics = "1";

// "cpu-avx512-1": instruction set and version; a machine whose kernels give other bits than the one where this version was
// made appends their hash, and so shares stored blocks only with its like.
std::string NumericsName(const kernels::KernelTable& k, bool exact) {
  std::string name = std::string("cpu-") + (exact ? "exact-" : "") + k.isa + "-" + kNumerics;
  const uint32_t bits = k.fingerprint();
  if (bits == k.known_fingerprint) return name;
  char hash[16];
  std::snprintf(hash, sizeof hash, "-%08x", bits);
  return name + hash;
}

// Up to here prefill is dense and so is decoding: the same operations, whoever computes a token.
uint32_t DenseTokens(const AttentionPolicy& prefill, const DecodePolicy& decode, uint32_t context) {
  const uint32_t prefilled = prefill.dense() ? context : prefill.min_tokens;
  const uint32_t decoded = decode.kind == DecodeKind::kDense ? context : std::max(decode.min_tokens, 1u) - 1;
  const uint32_t both = std::min(prefilled, decoded);
  return both >= context ? context : both / kBlockTokens * kBlockTokens;
}

constexpr uint32_t kMaxBatchTokens = 1u << 16;
constexpr uint32_t kMaxKvBlocks = 1u << 24;

Status CheckOptions(const EngineOptions& o) {
  if (o.threads > ThreadPool::kMaxThreads)
    return {Code::kInvalidArgument, std::to_string(o.threads) + " threads; at most " + std::to_string(ThreadPool::kMaxThreads)};
  if (o.kv_blocks == 0 || o.kv_blocks > kMaxKvBlocks)
    return {Code::kInvalidArgument, "kv_blocks must be between 1 and " + std::to_string(kMaxKvBlocks)};
  if (o.max_batch_tokens == 0 || o.max_batch_tokens > kMaxBatchTokens)
    return {Code::kInvalidArgument, "max_batch_tokens must be between 1 and " + std::to_string(kMaxBatchTokens)};
  if (o.kv_dtype != KvDtype::kBf16 && o.kv_dtype != KvDtype::kF32) return {Code::kInvalidArgument, "kv_dtype must be bf16 or f32"};
  return Status::Ok();
}

}  // namespace

Result<std::unique_ptr<Engine>> CpuEngine::Open(const EngineOptions& options) {
  if (Status s = CheckOptions(options); !s.ok()) return s;
  auto engine = std::make_unique<CpuEngine>();
  if (Status s = engine->Load(options); !s.ok()) return s;
  return std::unique_ptr<Engine>(std::move(engine));
}

Status CpuEngine::Load(const EngineOptions& options) {
  options_ = options;
  kernels_ = kernels::SelectKernels(options.isa.c_str());
  if (!kernels_)
    return {Code::kUnsupported, "isa '" + options.isa + "' is unknown or this machine lacks it; use auto, portable, avx2 or avx512"};
  const uint32_t threads = options.threads ? options.threads : std::min(AvailableCores(), ThreadPool::kMaxThreads);
  threads_ = std::make_unique<ThreadPool>(threads);
  Result<std::unique_ptr<Model>> model = Model::Load(options.model_path, options.exact, *threads_);
  if (!model.ok()) return model.status();
  model_ = std::move(model.value());
  Result<std::string> digest = model_->file().WeightsDigest();
  if (!digest.ok()) return digest.status();
  const Hyperparameters& h = model_->h();
  Result<AttentionPolicy> policy = LoadPolicy(options.policy, h);
  if (!policy.ok()) return policy.status();
  policy_ = std::move(policy.value());
  if (Status s = kv_.Allocate({options.kv_blocks, h.layers, h.kv_heads, h.head_dim, options.kv_dtype}); !s.ok()) return s;
  // Sketches are made of bf16 keys: a policy's decode asks for them where it can, an explicit one must have them.
  decode_ = options.decode.value_or(options.kv_dtype == KvDtype::kBf16 ? policy_.decode : DecodePolicy{});
  forward_ = std::make_unique<Forward>();
  if (Status s = forward_->Allocate(*model_, kv_, *threads_, *kernels_, options.max_batch_tokens, policy_, decode_, options.exact); !s.ok()) return s;
  Describe(digest.value());
  if (options.touch_kv) {
    try {
      toucher_ = std::thread([this] { kv_.Populate(stop_touching_); });
    } catch (const std::system_error&) {
      // No thread to be had: the first uses pay.
    }
  }
  return Status::Ok();
}

void CpuEngine::Describe(const std::string& digest) {
  const ModelFile& file = model_->file();
  const Hyperparameters& h = file.hyperparameters();
  info_ = InfoOfShape(h, file.family());
  info_.weights_digest = digest;
  info_.config_json = file.config_json();
  info_.numerics = NumericsName(*kernels_, options_.exact);
  info_.weights_format = file.format();
  info_.weight_bytes = file.weight_bytes();
  info_.kv_bytes_per_token = KvPool::BytesPerToken(kv_.shape());
  info_.backend = "cpu";
  info_.policy_json = policy_.CanonicalJson();
  info_.dense_tokens = DenseTokens(policy_, decode_, h.context_length);
  stats_.kv_pool_bytes = kv_.bytes();
  stats_.weight_bytes = options_.exact ? file.weight_bytes() : model_->packed_bytes();
  stats_.scratch_bytes = forward_->scratch_bytes();
}

Status CpuEngine::Step(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  std::shared_lock life(life_);
  std::lock_guard one(step_);
  return StepLocked(items, outputs, cancel);
}

Status CpuEngine::Measure(const StepItem& item, const MeasureRequest& request, AttentionMeasures* measures, const std::atomic<int32_t>* cancel) {
  std::shared_lock life(life_);
  std::lock_guard one(step_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  std::vector<AttentionPolicy> policies;
  for (const std::string& name : request.policies) {
    Result<AttentionPolicy> policy = LoadPolicy(name, model_->h());
    if (!policy.ok()) return policy.status();
    policies.push_back(std::move(policy.value()));
  }
  if (policies.empty()) policies.push_back(policy_);
  AttentionProbe probe;
  const uint32_t context = std::min(info_.context_length, options_.kv_blocks * kBlockTokens);
  if (Status s = probe.Allocate(forward_->sparse().shape(), std::move(policies), request, kv_, threads_->threads(),
                                std::max<uint32_t>(1, static_cast<uint32_t>(item.tokens.size())), context);
      !s.ok())
    return s;
  forward_->set_probe(&probe);
  std::vector<StepOutput> outputs;
  const Status s = StepLocked({&item, 1}, &outputs, cancel);
  forward_->set_probe(nullptr);
  if (s.ok()) *measures = probe.Take();
  return s;
}

// The caller holds life_ and step_.
Status CpuEngine::StepLocked(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  if (closed_) return {Code::kClosed, "the engine is closed"};
  outputs->clear();
  if (Status s = CheckStep(items, {info_.vocab, info_.context_length, options_.kv_blocks, options_.max_batch_tokens}); !s.ok()) return s;
  if (items.empty()) return Status::Ok();
  const auto start = std::chrono::steady_clock::now();
  const Status s = RunStep(items, outputs, cancel);
  const uint64_t ns = static_cast<uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  const bool decode = std::all_of(items.begin(), items.end(), [](const StepItem& i) { return i.tokens.size() == 1; });
  std::lock_guard lock(stats_mutex_);
  stats_.steps++;
  if (s.ok()) stats_.tokens += batch_.tokens.size();
  if (s.code() == Code::kCancelled) stats_.aborted_steps++;
  (decode ? stats_.decode_ns : stats_.prefill_ns) += ns;
  stats_.attention_ns = forward_->attention_ns();
  forward_->sparse().ReportCounts(&stats_);
  stats_.decode = forward_->decode_stats();
  return s;
}

Status CpuEngine::RunStep(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) {
  const Status cancelled{Code::kCancelled, "the step was cancelled; submit its items again"};
  outputs->resize(items.size());
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.items.clear();
  struct Wanted { size_t item; uint32_t token; };
  std::vector<Wanted> wanted;
  std::vector<uint32_t> rows;
  for (size_t i = 0; i < items.size(); ++i) {
    const StepItem& item = items[i];
    const uint32_t first = static_cast<uint32_t>(batch_.tokens.size()), count = static_cast<uint32_t>(item.tokens.size());
    batch_.items.push_back({first, count, item.position, item.block_table.data()});
    for (uint32_t t = 0; t < count; ++t) {
      batch_.tokens.push_back(item.tokens[t]);
      batch_.positions.push_back(item.position + t);
      if (item.want_logits || (item.sample && t + 1 == count)) {
        wanted.push_back({i, t});
        rows.push_back(first + t);
      }
    }
    if (item.want_logits) (*outputs)[i].logits.resize(size_t{count} * info_.vocab);
  }
  if (!forward_->Run(batch_, cancel)) return cancelled;
  Status sampled;
  const bool finished = forward_->Logits(rows, [&](size_t index, const float* logits) {
    const auto [i, token] = wanted[index];
    const StepItem& item = items[i];
    StepOutput& out = (*outputs)[i];
    if (item.want_logits) std::copy_n(logits, info_.vocab, out.logits.data() + size_t{token} * info_.vocab);
    if (!item.sample || token + 1 != item.tokens.size() || !sampled.ok()) return;
    sampled = Sample({logits, info_.vocab}, item.sampling, item.history, uint64_t{item.position} + item.tokens.size(), &out);
  }, cancel);
  if (!finished) return cancelled;
  return sampled;
}

Status CpuEngine::ReadBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> dst) const {
  std::shared_lock life(life_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  if (Status s = CheckBlockAccess({options_.kv_blocks, info_.layers, info_.kv_bytes_per_token}, block, layer, tokens, dst.size()); !s.ok()) return s;
  kv_.Read(block, layer, tokens, dst.data());
  return Status::Ok();
}

Status CpuEngine::WriteBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> src) {
  std::shared_lock life(life_);
  if (closed_) return {Code::kClosed, "the engine is closed"};
  if (Status s = CheckBlockAccess({options_.kv_blocks, info_.layers, info_.kv_bytes_per_token}, block, layer, tokens, src.size()); !s.ok()) return s;
  kv_.WriteRaw(block, layer, tokens, src.data());
  forward_->Restored(block, layer);
  return Status::Ok();
}

EngineStats CpuEngine::stats() const {
  std::lock_guard lock(stats_mutex_);
  return stats_;
}

void CpuEngine::Close() {
  std::unique_lock life(life_);
  if (closed_) return;
  closed_ = true;
  stop_touching_ = true;
  if (toucher_.joinable()) toucher_.join();
  forward_.reset();
  model_.reset();
  threads_.reset();
  kv_.Free();
}

}  // namespace longshore
