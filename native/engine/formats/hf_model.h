// Hugging Face folders: config.json, generation_config.json and safetensors shards.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/formats/model_contents.h"
#include "engine/status.h"

namespace longshore {

// The folder's texts and mapped shards, so that reading needs no file system. `generation_config` may be empty.
struct HfFolder {
  std::string_view config;
  std::string_view generation_config;
  std::vector<std::span<const uint8_t>> shards;
};

// Errors: kCorrupt, kUnsupported. Tensor data point into the shards.
Result<ModelContents> ReadHfModel(const HfFolder& folder);

// config.json and generation_config.json alone (both spellings of RoPE parameters: rope_parameters of transformers >= 5,
// rope_theta + rope_scaling before). Fills family and hyperparameters except what the tensors tell.
Status ReadHfConfig(std::string_view config, std::string_view generation_config, ModelContents* model);

// Shard file names of a model.safetensors.index.json, sorted, unique; kCorrupt when one is not a plain file name.
Result<std::vector<std::string>> ReadShardIndex(std::string_view index_json);

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight"; names without a canonical form are returned as they are.
// `post_norms`: the family has norms after attention and MLP too (Gemma 3), whose names it shares with others' norms before them.
std::string CanonicalTensorName(std::string_view hf_name, bool post_norms = false);

}  // namespace longshore
