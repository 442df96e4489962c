#include "engine/cuda/device_forward.h"

#include <algorithm>
#include <cmath>

#include "kernels/cuda/block_count.h"
#include "kernels/cuda/block_energy.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/greedy.h"
#include "kernels/cuda/kv_write.h"
#include "kernels/cuda/linear/embed.h"
#include "kernels/cuda/linear/gated_activation.h"
#include "kernels/cuda/linear/rms_norm.h"
#include "kernels/cuda/linear/rotary.h"
#include "kernels/cuda/prefill_attention.h"

#define LONGSHORE_TRY(call) \
  if (const cudaError_t error_ = (call); error_ != cudaSuccess) return error_

namespace longshore::cuda {
namespace {

constexpr uint32_t kVectorRows = 8;      // up to here products read their weights once (gemv.h)
constexpr uint32_t kPacedRows = 2048;    // steps from here on are enqueued two layers ahead, so that a cancel is heard

}  // namespace

DeviceForward::~DeviceForward() {
  for (cudaEvent_t event : layers_done_)
    if (event != nullptr) cudaEventDestroy(event);
}

Status DeviceForward::Allocate(const DeviceModel& model, const DevicePool& pool, const Card& card, std::vector<LayerPolicy> policies,
                               const Workspace::Limits& limits) {
  model_ = &model;
  pool_ = &pool;
  card_ = card;
  policies_ = std::move(policies);
  const Hyperparameters& h = model.h();
  scale_ = static_cast<float>(h.query_scale > 0.0 ? h.query_scale : 1.0 / std::sqrt(static_cast<double>(h.head_dim)));
  if (Status s = work_.Allocate(model, limits); !s.ok()) return s;
  for (cudaEvent_t& event : layers_done_)
    if (Status s = CudaStatus(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "an event"); !s.ok()) return s;
  std::string why;
  gemm_ = Gemm::Open(work_.gemm, &why);
  if (!gemm_) return {Code::kUnsupported, "the cuda backend needs cuBLASLt: " + why};
  return Status::Ok();
}

Status DeviceForward::Failed(cudaError_t error, const char* what) const {
  if (error == cudaSuccess) return Status::Ok();
  const std::string& words = gemm_->error();
  return CudaStatus(error, std::string(what) + (words.empty() ? "" : " (" + words + ")"));
}

bool DeviceForward::DecodesByVectors(const ForwardStep& step) const {
  const Hyperparameters& h = model_->h();
  if (step.prefill_rows > 0 || step.decodes > kVectorRows || h.qk_norm || h.rope_dims != h.head_dim) return false;
  const DeviceLayer& l = model_->layers()[0];
  Gemv qkv = Vector(l.qkv, work_.hidden, l.attention_norm, GemvOutput::kQkv, work_.q, step.decodes, model_->QkvRows(), h.hidden);
  qkv.qkv = {work_.cos, work_.sin, step.at.positions, static_cast<int32_t>(h.heads), static_cast<int32_t>(h.kv_heads), static_cast<int32_t>(h.head_dim),
             pool_->Layer(0, step.at.table, step.table_stride)};
  const Gemv down = Vector(l.down, work_.gated, nullptr, GemvOutput::kAdd, work_.hidden, step.decodes, h.hidden, h.intermediate);
  return GemvServes(qkv) && GemvServes(down);
}

Status DeviceForward::Run(const ForwardStep& step, const std::atomic<int32_t>* cancel, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const int32_t rows = static_cast<int32_t>(step.rows());
  cudaError_t error = LaunchEmbed({model_->embedding(), step.at.tokens, work_.hidden, rows, static_cast<int32_t>(h.hidden), 1.f}, stream);
  if (error == cudaSuccess)
    error = LaunchRotaryAngles({step.at.positions, model_->frequencies(), work_.cos, work_.sin, rows, static_cast<int32_t>(h.rope_dims / 2), model_->rope().magnitude()}, stream);
  const bool paced = cancel != nullptr && step.rows() >= kPacedRows, vectors = DecodesByVectors(step);
  for (uint32_t layer = 0; layer < h.layers && error == cudaSuccess; ++layer) {
    if (paced && layer >= 2) error = cudaEventSynchronize(layers_done_[layer % 2]);
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed) != 0) {
      cudaStreamSynchronize(stream);
      return {Code::kCancelled, "the step was cancelled; submit its items again"};
    }
    if (error == cudaSuccess) error = vectors ? DecodeLayer(layer, step, stream) : RunLayer(layer, step, stream);
    if (paced && error == cudaSuccess) error = cudaEventRecord(layers_done_[layer % 2], stream);
  }
  return Failed(error, "a layer of the model");
}

cudaError_t DeviceForward::Product(const bf16* x, const bf16* weight, void* out, bool out_f32, bool add, uint32_t m, uint32_t n, uint32_t k,
                                   cudaStream_t stream) {
  return gemm_->Run({GemmInput::kBf16, x, weight, nullptr, nullptr, out, out_f32, add, static_cast<int32_t>(m), static_cast<int32_t>(n), static_cast<int32_t>(k)}, stream);
}

Gemv DeviceForward::Vector(const bf16* weight, const bf16* x, const float* norm, GemvOutput output, bf16* out, uint32_t rows, uint32_t n, uint32_t k) const {
  Gemv v = {};
  v.weight_type = GemvWeight::kBf16;
  v.weight = weight;
  v.x = x;
  v.norm_weight = norm;
  v.eps = model_->h().rms_eps;
  v.output = output;
  v.out = out;
  v.rows = static_cast<int32_t>(rows);
  v.n = static_cast<int32_t>(n);
  v.k = static_cast<int32_t>(k);
  return v;
}

cudaError_t DeviceForward::RunLayer(uint32_t index, const ForwardStep& step, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const DeviceLayer& layer = model_->layers()[index];
  const uint32_t rows = step.rows();
  LONGSHORE_TRY(LaunchRmsNorm({work_.hidden, nullptr, nullptr, layer.attention_norm, h.rms_eps, nullptr, work_.normed, nullptr, nullptr,
                               static_cast<int32_t>(rows), static_cast<int32_t>(h.hidden)}, stream));
  LONGSHORE_TRY(Qkv(layer, rows, stream));
  for (const StepPlan::Group& group : step.groups) LONGSHORE_TRY(PrefillGroup(index, step, group, stream));
  if (step.decodes > 0) {
    const PagedKv kv = pool_->Layer(index, step.at.table + uint64_t{step.prefill_sequences} * step.table_stride, step.table_stride);
    LONGSHORE_TRY(LaunchKvWrite({work_.k, work_.v, static_cast<int32_t>(h.kv_heads), static_cast<int32_t>(h.head_dim), kv, step.at.decode_tiles,
                                 static_cast<int32_t>(step.decodes)}, stream));
    const uint64_t first = uint64_t{step.prefill_rows} * h.heads * h.head_dim;
    LONGSHORE_TRY(Decode(index, step, work_.q + first, work_.normed + first, stream));
  }
  LONGSHORE_TRY(Product(work_.normed, layer.o, work_.hidden, false, true, rows, h.hidden, h.heads * h.head_dim, stream));
  return Mlp(layer, rows, stream);
}

cudaError_t DeviceForward::Qkv(const DeviceLayer& layer, uint32_t rows, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const uint64_t half = h.rope_dims / 2;
  for (uint64_t first = 0; first < rows; first += kSliceRows) {
    const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kSliceRows, rows - first));
    LONGSHORE_TRY(Product(work_.normed + first * h.hidden, layer.qkv, work_.wide, false, false, count, model_->QkvRows(), h.hidden, stream));
    SplitQkv split = {};
    split.qkv = work_.wide;
    split.bias = layer.qkv_bias;
    split.q_norm = layer.q_norm;
    split.k_norm = layer.k_norm;
    split.eps = h.rms_eps;
    split.cos = work_.cos + first * half;
    split.sin = work_.sin + first * half;
    split.rope_dims = static_cast<int32_t>(h.rope_dims);
    split.rows = static_cast<int32_t>(count);
    split.heads = static_cast<int32_t>(h.heads);
    split.kv_heads = static_cast<int32_t>(h.kv_heads);
    split.head_dim = static_cast<int32_t>(h.head_dim);
    split.q = work_.q + first * h.heads * h.head_dim;
    split.k = work_.k + first * h.kv_heads * h.head_dim;
    split.v = work_.v + first * h.kv_heads * h.head_dim;
    LONGSHORE_TRY(LaunchSplitQkv(split, stream));
  }
  return cudaSuccess;
}

cudaError_t DeviceForward::PrefillGroup(uint32_t layer, const ForwardStep& step, const StepPlan::Group& group, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const int32_t heads = static_cast<int32_t>(h.heads), kv_heads = static_cast<int32_t>(h.kv_heads), head_dim = static_cast<int32_t>(h.head_dim);
  const PagedKv kv = pool_->Layer(layer, step.at.table + uint64_t{group.first_sequence} * step.table_stride, step.table_stride);
  const PrefillTile* tiles = step.at.tiles + group.first_tile;
  LONGSHORE_TRY(LaunchKvWrite({work_.k, work_.v, kv_heads, head_dim, kv, tiles, static_cast<int32_t>(group.tiles)}, stream));
  PrefillAttention attention = {};
  attention.q = work_.q;
  attention.out = work_.normed;
  attention.rows = step.rows();
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  attention.head_dim = head_dim;
  attention.kv = kv;
  attention.scale = scale_;
  attention.schedule = work_.schedule;
  // A section's keys and values stay in the second-level cache.
  const int64_t head_bytes = int64_t{group.max_blocks} * 2 * TileBytes(head_dim);
  attention.section_kv_heads = 1;
  for (int32_t s = 2; s <= kv_heads; ++s)
    if (kv_heads % s == 0 && s * head_bytes <= card_.l2_bytes * 2 / 3) attention.section_kv_heads = s;
  const LayerPolicy& policy = policies_[layer];
  const uint32_t sparse = policy.sparse ? group.sparse_tiles : 0;
  if (sparse > 0) {
    const BlockMeans means = {work_.means, static_cast<int32_t>((group.max_blocks + kBlockTokens - 1) / kBlockTokens)};
    LONGSHORE_TRY(LaunchBlockMeans(kv, kv_heads, head_dim, step.at.blocks + group.first_block, static_cast<int32_t>(group.blocks), means, stream));
    BlockEnergy energy = {};
    energy.q = work_.q;
    energy.rows = step.rows();
    energy.heads = heads;
    energy.kv_heads = kv_heads;
    energy.head_dim = head_dim;
    energy.means = means;
    energy.tiles = tiles;
    energy.tile_count = static_cast<int32_t>(sparse);
    energy.max_query_block = static_cast<int32_t>(group.max_blocks) - 1;
    energy.scale = scale_;
    energy.alpha = policy.alpha;
    energy.sink = policy.sink;
    energy.window = policy.window;
    energy.mask = work_.mask;
    energy.mask_count = work_.mask_count;
    energy.mask_words = static_cast<int32_t>(work_.mask_words);
    LONGSHORE_TRY(LaunchBlockEnergy(energy, stream));
    attention.tiles = tiles;
    attention.tile_count = energy.tile_count;
    attention.mask = work_.mask;
    attention.mask_count = work_.mask_count;
    attention.mask_words = energy.mask_words;
    attention.tau = policy.tau;
    attention.sink = policy.sink;
    attention.window = policy.window;
    attention.read_count = policy.tau > 0 ? work_.read_count : nullptr;
    LONGSHORE_TRY(LaunchPrefillAttention(attention, stream));
    const int32_t lists = heads * energy.tile_count;
    const BlockCount listed = {work_.mask_count, lists, 2, work_.half_blocks}, read = {work_.read_count, 2 * lists, 1, work_.half_blocks + 1};
    LONGSHORE_TRY(LaunchBlockCount(listed, stream));
    LONGSHORE_TRY(LaunchBlockCount(policy.tau > 0 ? read : BlockCount{work_.mask_count, lists, 2, work_.half_blocks + 1}, stream));
    attention.mask = nullptr;
    attention.read_count = nullptr;
    attention.mask_count = nullptr;
    attention.mask_words = 0;
    attention.tau = 0;
  }
  attention.tiles = tiles + sparse;
  attention.tile_count = static_cast<int32_t>(group.tiles - sparse);
  return LaunchPrefillAttention(attention, stream);
}

cudaError_t DeviceForward::Decode(uint32_t layer, const ForwardStep& step, const bf16* q, bf16* out, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  for (uint32_t first = 0; first < step.decodes; first += work_.decode_sequences) {
    const uint64_t row = uint64_t{first} * h.heads * h.head_dim;
    DecodeAttention decode = {};
    decode.q = q + row;
    decode.out = out + row;
    decode.sequences = static_cast<int32_t>(std::min(work_.decode_sequences, step.decodes - first));
    decode.heads = static_cast<int32_t>(h.heads);
    decode.kv_heads = static_cast<int32_t>(h.kv_heads);
    decode.head_dim = static_cast<int32_t>(h.head_dim);
    decode.kv = pool_->Layer(layer, step.at.table + (uint64_t{step.prefill_sequences} + first) * step.table_stride, step.table_stride);
    decode.lengths = step.at.lengths + first;
    decode.max_length = static_cast<int32_t>(step.max_length);
    decode.scale = scale_;
    decode.partial = work_.partial;
    LONGSHORE_TRY(LaunchDecodeAttention(decode, stream));
  }
  return cudaSuccess;
}

cudaError_t DeviceForward::Mlp(const DeviceLayer& layer, uint32_t rows, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const Gating gating = model_->family().gate == Gate::kGelu ? Gating::kGelu : Gating::kSilu;
  LONGSHORE_TRY(LaunchRmsNorm({work_.hidden, nullptr, nullptr, layer.mlp_norm, h.rms_eps, nullptr, work_.normed, nullptr, nullptr, static_cast<int32_t>(rows),
                               static_cast<int32_t>(h.hidden)}, stream));
  for (uint64_t first = 0; first < rows; first += kSliceRows) {
    const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kSliceRows, rows - first));
    LONGSHORE_TRY(Product(work_.normed + first * h.hidden, layer.gate_up, work_.wide, false, false, count, 2 * h.intermediate, h.hidden, stream));
    LONGSHORE_TRY(LaunchGatedActivation({work_.wide, gating, work_.gated, nullptr, nullptr, static_cast<int32_t>(count), static_cast<int32_t>(h.intermediate)}, stream));
    LONGSHORE_TRY(Product(work_.gated, layer.down, work_.hidden + first * h.hidden, false, true, count, h.hidden, h.intermediate, stream));
  }
  return cudaSuccess;
}

cudaError_t DeviceForward::DecodeLayer(uint32_t index, const ForwardStep& step, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  const DeviceLayer& l = model_->layers()[index];
  const uint32_t rows = step.decodes, attended = h.heads * h.head_dim;
  Gemv qkv = Vector(l.qkv, work_.hidden, l.attention_norm, GemvOutput::kQkv, work_.q, rows, model_->QkvRows(), h.hidden);
  qkv.bias = l.qkv_bias;
  qkv.qkv = {work_.cos, work_.sin, step.at.positions, static_cast<int32_t>(h.heads), static_cast<int32_t>(h.kv_heads), static_cast<int32_t>(h.head_dim),
             pool_->Layer(index, step.at.table, step.table_stride)};
  LONGSHORE_TRY(LaunchGemv(qkv, stream));
  LONGSHORE_TRY(Decode(index, step, work_.q, work_.normed, stream));
  LONGSHORE_TRY(LaunchGemv(Vector(l.o, work_.normed, nullptr, GemvOutput::kAdd, work_.hidden, rows, h.hidden, attended), stream));
  const GemvOutput gate = model_->family().gate == Gate::kGelu ? GemvOutput::kGelu : GemvOutput::kSilu;
  LONGSHORE_TRY(LaunchGemv(Vector(l.gate_up, work_.hidden, l.mlp_norm, gate, work_.gated, rows, 2 * h.intermediate, h.hidden), stream));
  return LaunchGemv(Vector(l.down, work_.gated, nullptr, GemvOutput::kAdd, work_.hidden, rows, h.hidden, h.intermediate), stream);
}

Status DeviceForward::Logits(const int32_t* rows, uint32_t count, cudaStream_t stream) {
  const Hyperparameters& h = model_->h();
  cudaError_t error = LaunchEmbed({work_.hidden, rows, work_.sampled, static_cast<int32_t>(count), static_cast<int32_t>(h.hidden), 1.f}, stream);
  Gemv vector = Vector(model_->output(), work_.sampled, model_->output_norm(), GemvOutput::kF32, nullptr, count, h.vocab, h.hidden);
  vector.logits = work_.logits;
  if (error == cudaSuccess && count <= kVectorRows && GemvServes(vector)) return Failed(LaunchGemv(vector, stream), "logits");
  if (error == cudaSuccess)
    error = LaunchRmsNorm({work_.sampled, nullptr, nullptr, model_->output_norm(), h.rms_eps, nullptr, work_.sampled_normed, nullptr, nullptr,
                           static_cast<int32_t>(count), static_cast<int32_t>(h.hidden)}, stream);
  if (error == cudaSuccess) error = Product(work_.sampled_normed, model_->output(), work_.logits, true, false, count, h.vocab, h.hidden, stream);
  return Failed(error, "logits");
}

Status DeviceForward::Draw(uint32_t count, int32_t* tokens, float* logprobs, cudaStream_t stream) {
  return Failed(LaunchGreedy({work_.logits, static_cast<int32_t>(count), static_cast<int32_t>(model_->h().vocab), tokens, logprobs, work_.best}, stream),
                "drawing tokens");
}

}  // namespace longshore::cuda

#undef LONGSHORE_TRY
