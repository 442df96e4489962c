#include "engine/formats/hf_model.h"

#include <algorithm>
#include <string>

#include "engine/formats/errors.h"
#include "engine/formats/json.h"
#include "engine/formats/safetensors.h"

namespace longshore {

Result<std::vector<std::string>> ReadShardIndex(std::string_view index_json) {
  Result<JsonValue> index = ParseJson(index_json);
  if (!index.ok()) return Status(index.status().code(), "model.safetensors.index.json: " + index.status().message());
  const JsonValue* map = index.value().Find("weight_map");
  if (map == nullptr || map->object() == nullptr) return Corrupt("model.safetensors.index.json has no weight_map");
  std::vector<std::string> names;
  for (const auto& [tensor, file] : *map->object()) {
    if (file.string() == nullptr) return Corrupt("model.safetensors.index.json: the file of " + Quote(tensor) + " is not a string");
    names.push_back(*file.string());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (names.empty() || names.size() > kMaxShards) return Corrupt("model.safetensors.index.json names " + std::to_string(names.size()) + " files");
  for (const std::string& name : names) {
    const bool plain = name.ends_with(".safetensors") && name.size() <= 255 && name.front() != '.' && name.find('/') == std::string::npos &&
                       name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
    if (!plain) return Corrupt("model.safetensors.index.json names " + Quote(name) + ", which is not a plain .safetensors file name");
  }
  return names;
}

Result<ModelContents> ReadHfModel(const HfFolder& folder) {
  ModelContents model;
  model.container = "safetensors";
  if (Status s = ReadHfConfig(folder.config, folder.generation_config, &model); !s.ok()) return s;
  for (const std::span<const uint8_t> shard : folder.shards) {
    Result<std::vector<Tensor>> tensors = ParseSafetensors(shard);
    if (!tensors.ok()) return tensors.status();
    for (Tensor& tensor : tensors.value()) {
      // Old checkpoints store RoPE's frequencies as buffers; they follow from the configuration.
      if (tensor.name.ends_with(".rotary_emb.inv_freq")) continue;
      tensor.name = CanonicalTensorName(tensor.name, model.family == "gemma3");
      // Tied by configuration: a stored copy is ignored, as transformers does.
      if (tensor.name == "output.weight" && model.hyperparameters.tied_embeddings) continue;
      model.tensors.push_back(std::move(tensor));
    }
    if (model.tensors.size() > kMaxTensors) return Corrupt("the shards hold more than " + std::to_string(kMaxTensors) + " tensors");
  }
  if (Status s = FinishModel(&model); !s.ok()) return s;
  return model;
}

}  // namespace longshore
