#include "addon/tokenizer_metadata.h"

namespace longshore {
namespace {

template <typename T>
const T* Get(const Metadata& metadata, std::string_view key) {
  const auto it = metadata.find(key);
  return it == metadata.end() ? nullptr : std::get_if<T>(&it->second);
}

template <typename T>
std::optional<T> Optional(const Metadata& metadata, std::string_view key) {
  const T* value = Get<T>(metadata, key);
  return value ? std::optional<T>(*value) : std::nullopt;
}

// Writers store ids signed or unsigned; negative means none.
std::optional<double> Id(const Metadata& metadata, std::string_view key) {
  if (const auto* value = Get<uint64_t>(metadata, key)) return static_cast<double>(*value);
  const auto* value = Get<int64_t>(metadata, key);
  return value && *value >= 0 ? std::optional<double>(static_cast<double>(*value)) : std::nullopt;
}

}  // namespace

std::optional<TokenizerMetadata> TokenizerOf(const Metadata& m) {
  const auto* model = Get<std::string_view>(m, "tokenizer.ggml.model");
  const auto* tokens = Get<std::vector<std::string_view>>(m, "tokenizer.ggml.tokens");
  if (model == nullptr || tokens == nullptr) return std::nullopt;
  return TokenizerMetadata{
      .model = *model,
      .pre = Optional<std::string_view>(m, "tokenizer.ggml.pre"),
      .chat_template = Optional<std::string_view>(m, "tokenizer.chat_template"),
      .tokens = tokens,
      .merges = Get<std::vector<std::string_view>>(m, "tokenizer.ggml.merges"),
      .scores = Get<std::vector<double>>(m, "tokenizer.ggml.scores"),
      .token_types = Get<std::vector<int64_t>>(m, "tokenizer.ggml.token_type"),
      .bos_id = Id(m, "tokenizer.ggml.bos_token_id"),
      .eos_id = Id(m, "tokenizer.ggml.eos_token_id"),
      .eot_id = Id(m, "tokenizer.ggml.eot_token_id"),
      .unk_id = Id(m, "tokenizer.ggml.unknown_token_id"),
      .pad_id = Id(m, "tokenizer.ggml.padding_token_id"),
      .add_bos = Optional<bool>(m, "tokenizer.ggml.add_bos_token"),
      .add_eos = Optional<bool>(m, "tokenizer.ggml.add_eos_token"),
      .add_space_prefix = Optional<bool>(m, "tokenizer.ggml.add_space_prefix"),
  };
}

}  // namespace longshore
