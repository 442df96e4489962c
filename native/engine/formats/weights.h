// Opening a model: a GGUF file, or a Hugging Face folder (config.json + *.safetensors), memory-mapped and checked.
//
// Tensors carry GGUF's names whichever file they came from; layer N's are prefixed "blk.N.":
//   token_embd.weight [vocab, hidden]    output_norm.weight [hidden]    output.weight [vocab, hidden] (absent when tied)
//   attn_norm.weight, ffn_norm.weight [hidden]            attn_q.weight [heads*head_dim, hidden] (+ .bias)
//   attn_k.weight, attn_v.weight [kv_heads*head_dim, hidden] (+ .bias)    attn_output.weight [hidden, heads*head_dim] (+ .bias)
//   attn_q_norm.weight, attn_k_norm.weight [head_dim]     post_attention_norm.weight, post_ffw_norm.weight [hidden]     ffn_gate.weight, ffn_up.weight [intermediate, hidden] (+ .bias)
//   ffn_down.weight [hidden, intermediate] (+ .bias)      rope_freqs.weight [rope_dims/2] (GGUF llama3: divisors of the frequencies)
// Every tensor with one of these names has exactly that shape when Open succeeds; whether all that a family needs are present
// is the family's question (Require).
//
// Bounds, checked before anything is allocated: a GGUF header is at most 64 MB and its parsed form at most 8 times its bytes; a
// JSON text (config, index, safetensors header) at most 32 MB and 2^20 values, its parsed form at most about 130 MB + the text;
// kMaxTensors tensors. So opening allocates less than 600 MB whatever a file claims, and in practice a few MB. Tensor bytes stay in the
// mapping, except that a tensor which a file stores unaligned to its element is copied. Tensors never overlap, so all of
// them together are no larger than the files. A file that claims more than it holds is refused.
// The mapping assumes that nobody truncates the file while it is open (a mapped file that shrinks kills the process).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/formats/dtype.h"
#include "engine/formats/hyperparameters.h"
#include "engine/formats/metadata.h"
#include "engine/status.h"

namespace longshore {

constexpr uint32_t kMaxTensors = 65536;
constexpr uint32_t kMaxShards = 1024;

struct Tensor {
  std::string name;               // canonical, see above; names without a canonical form are kept as they are
  DType dtype = DType::kF32;
  std::vector<uint64_t> shape;    // outermost first, 1 to 4 dimensions, none zero; the last one is contiguous
  const uint8_t* data = nullptr;  // aligned to the type; rows back to back, each RowBytes(dtype, cols())
  uint64_t bytes = 0;

  uint64_t cols() const { return shape.back(); }
  uint64_t rows() const {
    uint64_t r = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) r *= shape[i];
    return r;
  }
  const uint8_t* row(uint64_t r) const { return data + r * RowBytes(dtype, cols()); }
};

class ModelFile {
 public:
  // Errors: kNotFound (no such path, no weights in the folder), kCorrupt (truncated, contradictory or absurd), kUnsupported
  // (a version, tensor type, activation, RoPE scaling or feature this engine does not have), kOutOfMemory (mapping failed).
  static Result<std::unique_ptr<ModelFile>> Open(const std::string& path);
  virtual ~ModelFile() = default;

  const std::string& path() const { return path_; }
  // "gguf:Q4_1", "safetensors:bf16": container and the type of most weight bytes.
  const std::string& format() const { return format_; }
  // "llama" (also Mistral), "qwen2", "qwen3", "gemma3"; Open refuses other architectures (architectures.h).
  const std::string& family() const { return family_; }
  const Hyperparameters& hyperparameters() const { return hyperparameters_; }
  // Sorted by name.
  std::span<const Tensor> tensors() const { return tensors_; }
  // nullptr when absent.
  const Tensor* Find(std::string_view name) const;
  // kCorrupt with the tensor's name when absent.
  Result<const Tensor*> Require(std::string_view name) const;
  // Sum of all tensors' bytes.
  uint64_t weight_bytes() const { return weight_bytes_; }
  // GGUF's key-values (general.*, <arch>.*, tokenizer.*); empty for HF folders, whose JSON files sit beside the weights.
  const Metadata& metadata() const { return metadata_; }
  // Canonical JSON (sorted keys, no spaces, integers as integers, other numbers as shortest round-trip strings) of everything
  // that changes the computation besides the weights' bytes.
  const std::string& config_json() const { return config_json_; }
  // "sha256:<hex>", see digest.h. Reads every weight byte the first time (about 1 s per GB), then a small file beside the weights.
  Result<std::string> WeightsDigest() const;

 protected:
  std::string path_, format_, family_, config_json_;
  Hyperparameters hyperparameters_;
  std::vector<Tensor> tensors_;
  Metadata metadata_;
  uint64_t weight_bytes_ = 0;
  std::vector<std::string> weight_files_;  // in name order
};

}  // namespace longshore
