// From GGUF key-values to hyperparameters. Key names: ggml docs/gguf.md and llama.cpp's llama-arch.cpp.
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "engine/formats/architectures.h"
#include "engine/formats/errors.h"
#include "engine/formats/gguf.h"

namespace longshore {
namespace {

// Reads typed values; remembers the first error so that callers check once.
class KeyValues {
 public:
  KeyValues(const Metadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}

  const Status& status() const { return status_; }
  bool Has(const std::string& key) const { return Find(key) != nullptr; }

  std::optional<uint32_t> Count(const std::string& key) {
    const MetadataValue* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* u = std::get_if<uint64_t>(value); u != nullptr && *u <= std::numeric_limits<uint32_t>::max()) return static_cast<uint32_t>(*u);
    if (const auto* i = std::get_if<int64_t>(value); i != nullptr && *i >= 0 && *i <= std::numeric_limits<uint32_t>::max()) return static_cast<uint32_t>(*i);
    if (const auto same = SameInAllLayers(*value)) return same;
    Fail(key, "is not a count, or differs between layers");
    return std::nullopt;
  }

  uint32_t RequireCount(const std::string& key) {
    const auto value = Count(key);
    if (!value.has_value()) Fail(key, "is missing");
    return value.value_or(0);
  }

  std::optional<double> Number(const std::string& key) {
    const MetadataValue* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* d = std::get_if<double>(value)) return *d;
    if (const auto* u = std::get_if<uint64_t>(value)) return static_cast<double>(*u);
    if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
    Fail(key, "is not a number");
    return std::nullopt;
  }

  std::optional<std::string_view> Text(const std::string& key) {
    const MetadataValue* value = Find(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* text = std::get_if<std::string_view>(value)) return *text;
    Fail(key, "is not a string");
    return std::nullopt;
  }

 private:
  const MetadataValue* Find(const std::string& key) const {
    const auto it = metadata_.find(prefix_ + key);
    return it != metadata_.end() ? &it->second : nullptr;
  }

  // Some writers give one count per layer even where they are all equal.
  static std::optional<uint32_t> SameInAllLayers(const MetadataValue& value) {
    const auto same = [](const auto* values) -> std::optional<uint32_t> {
      if (values == nullptr || values->empty()) return std::nullopt;
      for (const auto v : *values) {
        if (v != values->front() || v < 0 || static_cast<uint64_t>(v) > std::numeric_limits<uint32_t>::max()) return std::nullopt;
      }
      return static_cast<uint32_t>(values->front());
    };
    if (const auto u = same(std::get_if<std::vector<int64_t>>(&value))) return u;
    const auto* unsigned_values = std::get_if<std::vector<uint64_t>>(&value);
    if (unsigned_values == nullptr || unsigned_values->empty()) return std::nullopt;
    for (const uint64_t v : *unsigned_values) {
      if (v != unsigned_values->front() || v > std::numeric_limits<uint32_t>::max()) return std::nullopt;
    }
    return static_cast<uint32_t>(unsigned_values->front());
  }

  void Fail(const std::string& key, const char* what) {
    if (status_.ok()) status_ = Corrupt("GGUF: " + prefix_ + key + " " + what);
  }

  const Metadata& metadata_;
  std::string prefix_;
  Status status_;
};

Status ReadRopeScaling(KeyValues* keys, RopeScaling* scaling) {
  const std::string_view type = keys->Text("rope.scaling.type").value_or("");
  const double factor = keys->Number("rope.scaling.factor").value_or(keys->Number("rope.scale_linear").value_or(1.0));
  if (type == "none" || (type.empty() && factor == 1.0)) return Status::Ok();
  scaling->factor = factor;
  if (type == "linear" || type.empty()) {
    scaling->kind = RopeScalingKind::kLinear;
  } else if (type == "yarn") {
    scaling->kind = RopeScalingKind::kYarn;
    scaling->original_context = keys->RequireCount("rope.scaling.original_context_length");
    scaling->beta_fast = keys->Number("rope.scaling.yarn_beta_fast").value_or(32.0);
    scaling->beta_slow = keys->Number("rope.scaling.yarn_beta_slow").value_or(1.0);
    // llama.cpp multiplies the file's factor with YaRN's own.
    const double written = keys->Number("rope.scaling.yarn_attn_factor").value_or(keys->Number("rope.scaling.attn_factor").value_or(1.0));
    scaling->attention_factor = written * (factor > 1.0 ? 0.1 * std::log(factor) + 1.0 : 1.0);
  } else {
    return Unsupported("GGUF: RoPE scaling " + Quote(type) + " is not supported; linear, yarn and llama3 (rope_freqs) are");
  }
  return Status::Ok();
}

// Chat models end a turn with a token that is not always the one that ends a document; files name both only lately, so the
// well-known texts count too where they are control tokens (llama.cpp's llama-vocab.cpp does the same).
bool IsEndOfTurn(std::string_view text) {
  for (std::string_view known : {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>"}) {
    if (text == known) return true;
  }
  return false;
}

void ReadEndTokens(const Metadata& metadata, Hyperparameters* h) {
  KeyValues keys(metadata, "tokenizer.ggml.");
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    if (const auto id = keys.Count(key)) h->eos_ids.push_back(*id);
  }
  if (const auto id = keys.Count("bos_token_id"); id.has_value() && *id <= std::numeric_limits<int32_t>::max()) h->bos_id = static_cast<int32_t>(*id);
  const auto tokens = metadata.find("tokenizer.ggml.tokens");
  const auto types = metadata.find("tokenizer.ggml.token_type");
  if (tokens == metadata.end() || types == metadata.end()) return;
  const auto* texts = std::get_if<std::vector<std::string_view>>(&tokens->second);
  const auto* kinds = std::get_if<std::vector<int64_t>>(&types->second);
  constexpr int64_t kControl = 3;
  if (texts == nullptr || kinds == nullptr) return;
  for (size_t i = 0; i < texts->size() && i < kinds->size(); ++i) {
    if ((*kinds)[i] == kControl && IsEndOfTurn((*texts)[i])) h->eos_ids.push_back(static_cast<uint32_t>(i));
  }
}

// What llama.cpp knows of Gemma 3 without its being in every file: a period of 6 layers, the sliding layers' theta of 10,000, and that the 27B
// model (62 layers) scales queries by the width per head instead of head_dim.
void ReadGemma3(KeyValues* keys, Hyperparameters* h) {
  constexpr uint32_t kLayersOf27B = 62;
  h->full_attention_every = keys->Count("attention.sliding_window_pattern").value_or(6);
  h->local_rope_theta = keys->Number("rope.freq_base_swa").value_or(1e4);
  if (h->layers == kLayersOf27B && h->heads > 0) h->query_scale = 1.0 / std::sqrt(static_cast<double>(h->hidden) / h->heads);
}

Status ReadHyperparameters(const Metadata& metadata, const Architecture& architecture, Hyperparameters* h) {
  KeyValues keys(metadata, std::string(architecture.gguf_name) + ".");
  h->layers = keys.RequireCount("block_count");
  h->hidden = keys.RequireCount("embedding_length");
  h->heads = keys.RequireCount("attention.head_count");
  h->kv_heads = keys.Count("attention.head_count_kv").value_or(h->heads);
  h->intermediate = keys.RequireCount("feed_forward_length");
  h->context_length = keys.RequireCount("context_length");
  h->rms_eps = static_cast<float>(keys.Number("attention.layer_norm_rms_epsilon").value_or(0.0));
  h->rope_theta = keys.Number("rope.freq_base").value_or(10000.0);
  h->head_dim = keys.Count("attention.key_length").value_or(h->heads > 0 ? h->hidden / h->heads : 0);
  if (keys.Count("attention.value_length").value_or(h->head_dim) != h->head_dim) return Unsupported("GGUF: keys and values of different length are not supported");
  h->rope_dims = keys.Count("rope.dimension_count").value_or(h->head_dim);
  h->rope_layout = architecture.gguf_rope_layout;
  h->sliding_window = keys.Count("attention.sliding_window").value_or(0);
  if (architecture.family == "gemma3") ReadGemma3(&keys, h);
  if (keys.Count("expert_count").value_or(0) > 0) return Unsupported("GGUF: mixture-of-experts models are not supported");
  if (Status s = ReadRopeScaling(&keys, &h->rope_scaling); !s.ok()) return s;
  if (!keys.status().ok()) return keys.status();
  KeyValues general(metadata, "general.");
  h->name = std::string(general.Text("name").value_or(""));
  ReadEndTokens(metadata, h);
  return general.status();
}

}  // namespace

Result<ModelContents> ReadGgufModel(std::span<const uint8_t> bytes) {
  Result<GgufFile> file = ParseGguf(bytes);
  if (!file.ok()) return file.status();
  ModelContents model;
  model.container = "gguf";
  model.metadata = std::move(file.value().metadata);
  model.tensors = std::move(file.value().tensors);
  if (KeyValues split(model.metadata, "split."); split.Count("count").value_or(0) > 1) {
    return Unsupported("GGUF: the model is split over several files; merge them with `llama-gguf-split --merge`");
  }
  const std::string_view name = KeyValues(model.metadata, "general.").Text("architecture").value_or("");
  const Architecture* architecture = FindGgufArchitecture(name);
  if (architecture == nullptr) return Unsupported("GGUF: architecture " + Quote(name) + " is not supported; supported are " + SupportedArchitectures());
  model.family = architecture->family;
  if (Status s = ReadHyperparameters(model.metadata, *architecture, &model.hyperparameters); !s.ok()) return s;
  if (Status s = FinishModel(&model); !s.ok()) return s;
  return model;
}

}  // namespace longshore
