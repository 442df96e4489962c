#include "engine/cuda/workspace.h"

#include <algorithm>

#include "engine/cuda/card.h"
#include "kernels/cuda/decode_attention.h"
#include "kernels/cuda/greedy.h"
#include "kernels/cuda/linear/gemm.h"
#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {
namespace {

int64_t PartialFloats(const Hyperparameters& h, uint32_t sequences, uint32_t max_blocks) {
  return DecodePartialFloats(static_cast<int32_t>(sequences), static_cast<int32_t>(h.heads), static_cast<int32_t>(h.kv_heads),
                             static_cast<int32_t>(h.head_dim), static_cast<int32_t>(max_blocks * kBlockTokens));
}

}  // namespace

void Workspace::Place(const DeviceModel& model, Parts* parts) {
  const Hyperparameters& h = model.h();
  const uint64_t rows = std::max(limits.rows, kLogitRows), slice = std::min<uint64_t>(rows, kSliceRows), q_size = uint64_t{h.heads} * h.head_dim,
                 kv_size = uint64_t{h.kv_heads} * h.head_dim;
  hidden = parts->Take<bf16>(rows * h.hidden);
  normed = parts->Take<bf16>(rows * std::max<uint64_t>(h.hidden, q_size));
  q = parts->Take<bf16>(rows * q_size);
  k = parts->Take<bf16>(rows * kv_size);
  v = parts->Take<bf16>(rows * kv_size);
  cos = parts->Take<float>(rows * (h.rope_dims / 2));
  sin = parts->Take<float>(rows * (h.rope_dims / 2));
  wide = parts->Take<bf16>(slice * std::max<uint64_t>(model.QkvRows(), 2 * uint64_t{h.intermediate}));
  gated = parts->Take<bf16>(slice * h.intermediate);
  sampled = parts->Take<bf16>(uint64_t{kLogitRows} * h.hidden);
  sampled_normed = parts->Take<bf16>(uint64_t{kLogitRows} * h.hidden);
  logits = parts->Take<float>(uint64_t{kLogitRows} * h.vocab);
  best = parts->Take<uint8_t>(static_cast<uint64_t>(GreedyPartialBytes(kLogitRows)));
  partial = parts->Take<float>(static_cast<uint64_t>(PartialFloats(h, decode_sequences, limits.max_blocks)));
  schedule = parts->Take<int32_t>(2);
  gemm = parts->Take<uint8_t>(static_cast<uint64_t>(Gemm::kWorkspaceBytes));
  if (!limits.sparse) return;
  const uint64_t tiles = limits.rows / kBlockTokens + 2 * kGroupSequences, mean_tiles = (limits.max_blocks + kBlockTokens - 1) / kBlockTokens;
  means = parts->Take<bf16>(kGroupSequences * h.kv_heads * mean_tiles * static_cast<uint64_t>(TileElements(static_cast<int>(h.head_dim))));
  mask = parts->Take<uint32_t>(h.heads * tiles * mask_words);
  mask_count = parts->Take<int32_t>(h.heads * tiles);
  read_count = parts->Take<int32_t>(h.heads * tiles * 2);
  half_blocks = parts->Take<unsigned long long>(2);
}

Status Workspace::Allocate(const DeviceModel& model, const Limits& wanted) {
  limits = wanted;
  mask_words = wanted.max_blocks / 32 + 1;
  means = nullptr;
  mask = nullptr;
  mask_count = nullptr;
  read_count = nullptr;
  half_blocks = nullptr;
  decode_sequences = kMaxSequences;
  while (decode_sequences > 1 && static_cast<uint64_t>(PartialFloats(model.h(), decode_sequences, wanted.max_blocks)) * sizeof(float) > kPartialBytes)
    decode_sequences /= 2;
  Parts count(nullptr);
  Place(model, &count);
  if (Status s = memory.Allocate(count.used(), "the step's workspace (max_batch_tokens sizes it)"); !s.ok()) return s;
  Parts parts(memory.as<void>());
  Place(model, &parts);
  // The schedule's zeros, and finite means past a sequence's last block.
  return CudaStatus(cudaMemset(memory.as<void>(), 0, memory.bytes()), "clearing the workspace");
}

}  // namespace longshore::cuda
