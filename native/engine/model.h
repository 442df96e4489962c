// A loaded model: hyperparameters and packed weights, ready for the graph (forward.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/families/family.h"
#include "engine/formats/weights.h"
#include "engine/packed_matrix.h"
#include "engine/rope.h"
#include "engine/status.h"
#include "engine/thread_pool.h"

namespace longshore {

struct Layer {
  std::vector<float> attention_norm, mlp_norm;  // [hidden]
  std::vector<float> post_attention_norm, post_mlp_norm;  // [hidden], post_norms families only
  std::vector<float> q_norm, k_norm;            // [head_dim], qk_norm families only
  PackedMatrix q, k, v, o;                      // [heads*head_dim | kv_heads*head_dim, hidden], o [hidden, heads*head_dim]
  PackedMatrix gate, up, down;                  // [intermediate, hidden], down [hidden, intermediate]
};

// The family of a file whose shape the engine's graph serves. kUnsupported (family, a shape beyond the limits) or kCorrupt.
Result<const Family*> ServedFamily(const ModelFile& file);

class Model {
 public:
  // Errors: ModelFile::Open's; kUnsupported (family, a shape beyond the kernels' limits), kCorrupt (a tensor is missing).
  static Result<std::unique_ptr<Model>> Load(const std::string& path, bool exact, ThreadPool& pool);

  const ModelFile& file() const { return *file_; }
  const Hyperparameters& h() const { return file_->hyperparameters(); }
  const Family& family() const { return *family_; }
  const std::vector<Layer>& layers() const { return layers_; }
  const std::vector<float>& output_norm() const { return output_norm_; }
  const PackedMatrix& output() const { return output_; }
  // Of layers that see all tokens, and of sliding ones.
  const Rope& rope() const { return rope_; }
  const Rope& local_rope() const { return local_rope_; }
  uint64_t packed_bytes() const;
  // Most scratch floats that any of its matrices needs per thread.
  size_t scratch_floats() const;

  // The embedding [hidden] of a token < vocab, as it enters the first layer.
  void Embed(uint32_t token, float* out) const;

 private:
  Status LoadTensors(bool exact, ThreadPool& pool);
  Status LoadLayer(uint32_t index, bool exact, ThreadPool& pool);
  template <typename Fn>
  void ForMatrices(const Fn& fn) const;

  std::unique_ptr<ModelFile> file_;
  const Family* family_ = nullptr;
  const Tensor* embedding_ = nullptr;
  std::vector<Layer> layers_;
  std::vector<float> output_norm_;
  PackedMatrix output_;
  Rope rope_, local_rope_;
};

}  // namespace longshore
