// A model's weights on the card: bf16 matrices with the products that share their input fused into one, f32 norms.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include "engine/cuda/memory.h"
#include "engine/cuda/random_shape.h"
#include "engine/families/family.h"
#include "engine/formats/weights.h"
#include "engine/rope.h"
#include "engine/thread_pool.h"

namespace longshore::cuda {

using bf16 = __nv_bfloat16;

struct DeviceLayer {
  float *attention_norm, *mlp_norm;   // [hidden]
  float *q_norm, *k_norm;             // [head_dim] or null
  bf16* qkv;                          // [(heads + 2 kv_heads) * head_dim, hidden]: q (half-split RoPE order), k, v
  bf16* qkv_bias;                     // or null
  bf16* o;                            // [hidden, heads * head_dim]
  bf16* gate_up;                      // [2 * intermediate, hidden]: gate, up
  bf16* down;                         // [hidden, intermediate]
};

class DeviceModel {
 public:
  // `path`: EngineOptions::model_path or a random shape. Errors: ModelFile::Open's, ServedFamily's, kUnsupported (a feature that the card's
  // graph lacks), kOutOfMemory.
  static Result<std::unique_ptr<DeviceModel>> Load(const std::string& path, ThreadPool& pool);

  const Hyperparameters& h() const { return h_; }
  const Family& family() const { return *family_; }
  const ModelFile* file() const { return file_.get(); }  // null for a random shape
  const Rope& rope() const { return rope_; }
  const std::vector<DeviceLayer>& layers() const { return layers_; }
  const float* frequencies() const { return frequencies_; }  // [rope_dims / 2]
  const float* output_norm() const { return output_norm_; }
  const bf16* embedding() const { return embedding_; }       // [vocab, hidden]
  const bf16* output() const { return output_; }             // [vocab, hidden]; the embedding when tied
  uint64_t bytes() const { return memory_.bytes(); }

  uint32_t QkvRows() const { return (h_.heads + 2 * h_.kv_heads) * h_.head_dim; }

 private:
  Status Allocate();
  void Place(Parts* parts);
  Status Upload(ThreadPool& pool);
  Status Randomize(const RandomShape& shape);

  std::unique_ptr<ModelFile> file_;
  Hyperparameters h_;
  const Family* family_ = nullptr;
  Rope rope_;
  DeviceMemory memory_;
  std::vector<DeviceLayer> layers_;
  float *frequencies_ = nullptr, *output_norm_ = nullptr;
  bf16 *embedding_ = nullptr, *output_ = nullptr;
};

}  // namespace longshore::cuda
