#include "engine/policy/minference.h"

#include <charconv>

namespace longshore {
namespace {

constexpr uint32_t kBlockSparseBlocks = 100 * 64 / 128;
constexpr int64_t kMaxTokens = 1 << 24;

Result<HeadPolicy> ReadPattern(const JsonValue& value, const std::string& where) {
  const JsonValue::Array* list = value.array();
  if (!list || list->size() < 3 || !(*list)[0].string() || !(*list)[1].integer() || !(*list)[2].integer())
    return Status{Code::kCorrupt, where + " must be [type, number, number, score]"};
  const std::string& type = *(*list)[0].string();
  const int64_t a = *(*list)[1].integer(), b = *(*list)[2].integer();
  if (a < 0 || b < 0 || a > kMaxTokens || b > kMaxTokens)
    return Status{Code::kCorrupt, where + " has a length outside 0 to " + std::to_string(kMaxTokens)};
  HeadPolicy p;
  if (type == "vertical_and_slash") {
    p.type = HeadPolicyType::kVerticalSlash;
    p.vertical = static_cast<uint32_t>(a);
    p.slash = static_cast<uint32_t>(b);
  } else if (type == "stream_llm") {
    p.type = HeadPolicyType::kAShape;
    p.sink = static_cast<uint32_t>(a);
    p.window = static_cast<uint32_t>(b > 0 ? b : 1);
  } else if (type == "block_sparse") {
    p.type = HeadPolicyType::kBlockSparse;
    p.top_k = kBlockSparseBlocks;
  } else {
    return Status{Code::kUnsupported, where + " has the type '" + type + "'; known are vertical_and_slash, stream_llm and block_sparse"};
  }
  return p;
}

}  // namespace

Result<AttentionPolicy> ReadMInferencePatterns(const JsonValue& list, uint32_t layers, uint32_t heads) {
  const JsonValue::Array& rows = *list.array();
  if (rows.size() != layers)
    return Status{Code::kInvalidArgument, "the pattern file has " + std::to_string(rows.size()) + " layers, the model " + std::to_string(layers)};
  AttentionPolicy policy{.min_tokens = 0, .layers = layers, .heads = heads, .table = std::vector<HeadPolicy>(size_t{layers} * heads)};
  for (uint32_t layer = 0; layer < layers; ++layer) {
    const std::string where = "layer " + std::to_string(layer);
    const JsonValue::Object* members = rows[layer].object();
    if (!members) return Status{Code::kCorrupt, where + " must be an object of heads"};
    if (members->size() != heads)
      return Status{Code::kInvalidArgument, where + " names " + std::to_string(members->size()) + " heads, the model has " + std::to_string(heads)};
    for (const auto& [key, value] : *members) {
      uint32_t head = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), head);
      if (error != std::errc() || end != key.data() + key.size() || head >= heads)
        return Status{Code::kInvalidArgument, where + " names the head '" + key + "'; the model has heads 0 to " + std::to_string(heads - 1)};
      Result<HeadPolicy> p = ReadPattern(value, where + " head " + key);
      if (!p.ok()) return p.status();
      policy.table[size_t{layer} * heads + head] = p.value();
    }
  }
  return policy;
}

}  // namespace longshore
