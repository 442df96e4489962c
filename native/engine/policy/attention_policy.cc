#include "engine/policy/attention_policy.h"

#include <algorithm>
#include <charconv>
#include <fstream>

#include "engine/formats/json.h"
#include "engine/policy/built_in.h"
#include "engine/policy/decode_policy_json.h"
#include "engine/policy/head_policy_json.h"
#include "engine/policy/minference.h"

namespace longshore {
namespace {

constexpr const char* kFormat = "longshore-attention-policy";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxTokens = 1 << 24;

Status CheckMembers(const JsonValue& object, const std::string& where, std::initializer_list<std::string_view> known) {
  for (const auto& [key, unused] : *object.object())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return {Code::kUnsupported, where + " has an unknown member '" + key + "'"};
  return Status::Ok();
}

// The model that a policy was measured on: what the engine can tell of it here.
Status CheckShape(const JsonValue& shape, uint32_t layers, uint32_t heads) {
  if (!shape.object()) return {Code::kCorrupt, "shape must be an object of counts"};
  for (const auto& [name, value] : *shape.object()) {
    if (!value.integer()) return {Code::kCorrupt, "shape." + name + " must be an integer"};
    const bool wrong = (name == "layers" && *value.integer() != layers) || (name == "heads" && *value.integer() != heads);
    if (wrong) return {Code::kInvalidArgument, "the policy is for a model of " + std::to_string(*value.integer()) + " " + name};
  }
  return Status::Ok();
}

Status ReadLayer(const JsonValue& entry, const std::string& where, AttentionPolicy* policy) {
  const JsonValue* number = entry.object() ? entry.Find("layer") : nullptr;
  if (!number || !number->integer()) return {Code::kCorrupt, where + " must be an object with a layer"};
  if (*number->integer() < 0 || *number->integer() >= policy->layers)
    return {Code::kInvalidArgument, where + ".layer is not below the model's " + std::to_string(policy->layers)};
  HeadPolicy* row = policy->table.data() + static_cast<size_t>(*number->integer()) * policy->heads;
  if (Status s = CheckMembers(entry, where, {"layer", "default", "heads"}); !s.ok()) return s;
  if (const JsonValue* all = entry.Find("default")) {
    Result<HeadPolicy> p = ReadHeadPolicy(*all, where + ".default");
    if (!p.ok()) return p.status();
    std::fill_n(row, policy->heads, p.value());
  }
  const JsonValue* heads = entry.Find("heads");
  if (!heads) return Status::Ok();
  if (!heads->object()) return {Code::kCorrupt, where + ".heads must be an object"};
  for (const auto& [key, value] : *heads->object()) {
    uint32_t head = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), head);
    if (error != std::errc() || end != key.data() + key.size() || head >= policy->heads)
      return {Code::kInvalidArgument, where + ".heads names '" + key + "'; the model has heads 0 to " + std::to_string(policy->heads - 1)};
    Result<HeadPolicy> p = ReadHeadPolicy(value, where + ".heads." + key);
    if (!p.ok()) return p.status();
    row[head] = p.value();
  }
  return Status::Ok();
}

// A table of dense heads is no table: the engine takes its dense path, and the identity is that of "dense".
AttentionPolicy Normalized(AttentionPolicy policy) {
  for (HeadPolicy& p : policy.table)
    if (p.type == HeadPolicyType::kBlockEnergy && p.alpha == 0.f && p.tau == 0.f) p = HeadPolicy{};
  if (std::all_of(policy.table.begin(), policy.table.end(), [](const HeadPolicy& p) { return p.type == HeadPolicyType::kDense; })) {
    policy.table.clear();
    policy.min_tokens = 0;
  }
  return policy;
}

}  // namespace

Result<AttentionPolicy> ParsePolicy(std::string_view text, uint32_t layers, uint32_t heads) {
  Result<JsonValue> json = ParseJson(text);
  if (!json.ok()) return json.status();
  const JsonValue& root = json.value();
  if (root.array()) {
    Result<AttentionPolicy> read = ReadMInferencePatterns(root, layers, heads);
    return read.ok() ? Result<AttentionPolicy>(Normalized(std::move(read.value()))) : read;
  }
  const JsonValue* format = root.object() ? root.Find("format") : nullptr;
  if (!format || !format->string() || *format->string() != kFormat)
    return Status{Code::kUnsupported, std::string("no attention policy: \"format\" must be \"") + kFormat + "\""};
  const JsonValue* version = root.Find("version");
  if (!version || !version->integer() || *version->integer() != kVersion)
    return Status{Code::kUnsupported, "this version of the attention policy format is unknown; this engine reads version 1"};
  if (Status s = CheckMembers(root, "the policy", {"format", "version", "model", "shape", "min_tokens", "default", "layers", "decode"}); !s.ok()) return s;
  AttentionPolicy policy{.min_tokens = 0, .layers = layers, .heads = heads, .table = {}, .decode = {}};
  if (const JsonValue* shape = root.Find("shape"))
    if (Status s = CheckShape(*shape, layers, heads); !s.ok()) return s;
  if (const JsonValue* n = root.Find("min_tokens")) {
    if (!n->integer() || *n->integer() < 0 || *n->integer() > kMaxTokens)
      return Status{Code::kCorrupt, "min_tokens must be an integer from 0 to " + std::to_string(kMaxTokens)};
    policy.min_tokens = static_cast<uint32_t>(*n->integer());
  }
  if (const JsonValue* decode = root.Find("decode")) {
    Result<DecodePolicy> read = ReadDecodePolicy(*decode);
    if (!read.ok()) return read.status();
    policy.decode = read.value();
  }
  const JsonValue* all = root.Find("default");
  if (!all) return Status{Code::kCorrupt, "the policy must have a default"};
  Result<HeadPolicy> p = ReadHeadPolicy(*all, "default");
  if (!p.ok()) return p.status();
  policy.table.assign(size_t{layers} * heads, p.value());
  if (const JsonValue* list = root.Find("layers")) {
    if (!list->array()) return Status{Code::kCorrupt, "layers must be a list"};
    for (size_t i = 0; i < list->array()->size(); ++i)
      if (Status s = ReadLayer((*list->array())[i], "layers[" + std::to_string(i) + "]", &policy); !s.ok()) return s;
  }
  return Normalized(std::move(policy));
}

Result<AttentionPolicy> LoadPolicy(const std::string& name, const Hyperparameters& model) {
  if (name == "default")
    if (const std::string_view text = MeasuredPolicy(model); !text.empty()) return ParsePolicy(text, model.layers, model.heads);
  return LoadPolicy(name, model.layers, model.heads);
}

Result<AttentionPolicy> LoadPolicy(const std::string& name_or_path, uint32_t layers, uint32_t heads) {
  if (name_or_path.starts_with('{') || name_or_path.starts_with('[')) return ParsePolicy(name_or_path, layers, heads);
  if (const std::string_view text = BuiltInPolicy(name_or_path); !text.empty()) return ParsePolicy(text, layers, heads);
  std::ifstream file(name_or_path, std::ios::binary);
  if (!file)
    return Status{Code::kNotFound, "policy '" + name_or_path + "' is no file and no built-in; use " + BuiltInPolicyNames() + ", or the path of a policy file"};
  std::string text;
  char chunk[65536];
  while (text.size() <= kMaxJsonBytes && (file.read(chunk, sizeof chunk), file.gcount() > 0)) text.append(chunk, static_cast<size_t>(file.gcount()));
  Result<AttentionPolicy> policy = ParsePolicy(text, layers, heads);
  if (!policy.ok()) return Status{policy.status().code(), "policy '" + name_or_path + "': " + policy.status().message()};
  return policy;
}

std::string AttentionPolicy::CanonicalJson() const {
  if (dense()) return R"({"prefill":"dense"})";
  std::vector<HeadPolicy> distinct;
  std::string rows, policies;
  for (uint32_t layer = 0; layer < layers; ++layer) {
    rows.append(layer ? ",[" : "[");
    for (uint32_t head = 0; head < heads; ++head) {
      const auto found = std::find(distinct.begin(), distinct.end(), at(layer, head));
      rows.append(head ? "," : "").append(std::to_string(found - distinct.begin()));
      if (found == distinct.end()) distinct.push_back(at(layer, head));
    }
    rows.append("]");
  }
  for (const HeadPolicy& p : distinct) policies.append(policies.empty() ? "" : ",").append(HeadPolicyJson(p));
  std::string json = "{";
  if (distinct.size() > 1) json.append(R"("heads":[)").append(rows).append("],");
  return json.append(R"("min_tokens":)").append(std::to_string(min_tokens)).append(R"(,"policies":[)").append(policies).append(R"(],"prefill":"sparse"})");
}

}  // namespace longshore
