#include "engine/policy/head_policy_json.h"

#include <cstdio>

#include "engine/policy/members.h"

namespace longshore {
namespace {

std::string Fraction(float x) {
  char text[32];
  std::snprintf(text, sizeof text, "\"%.9g\"", static_cast<double>(x));
  return text;
}

}  // namespace

Result<HeadPolicy> ReadHeadPolicy(const JsonValue& value, const std::string& where) {
  const JsonValue* type = value.object() ? value.Find("type") : nullptr;
  if (!type || !type->string()) return Status{Code::kCorrupt, where + " must be an object with a type"};
  const std::string& name = *type->string();
  Members members(value, where);
  HeadPolicy p;
  if (name == "dense") {
    p.type = HeadPolicyType::kDense;
  } else if (name == "a_shape") {
    p.type = HeadPolicyType::kAShape;
    p.sink = members.Count("sink", 0);
    p.window = members.Count("window", 1);
  } else if (name == "vertical_slash") {
    p.type = HeadPolicyType::kVerticalSlash;
    p.vertical = members.Count("vertical", 0);
    p.slash = members.Count("slash", 0);
    p.shared = members.Switch("shared");
  } else if (name == "block_sparse") {
    p.type = HeadPolicyType::kBlockSparse;
    p.top_k = members.Count("top_k", 1);
    p.shared = members.Switch("shared");
  } else if (name == "block_energy") {
    p.type = HeadPolicyType::kBlockEnergy;
    p.alpha = members.Share("alpha", -1.f);
    p.sink = members.Count("sink", 0);
    p.window = members.Count("window", 1);
    p.tau = members.Share("tau", 0.f);
    p.mean_correction = members.Switch("mean_correction");
    p.shared = members.Switch("shared");
  } else {
    return Status{Code::kUnsupported, where + ".type '" + name + "' is unknown; use dense, a_shape, vertical_slash, block_sparse or block_energy"};
  }
  if (Status s = members.Finish(); !s.ok()) return s;
  return p;
}

std::string HeadPolicyJson(const HeadPolicy& p) {
  const auto number = [](uint32_t x) { return std::to_string(x); };
  const std::string shared = p.shared ? "true" : "false";
  switch (p.type) {
    case HeadPolicyType::kDense: return R"({"type":"dense"})";
    case HeadPolicyType::kAShape: return R"({"sink":)" + number(p.sink) + R"(,"type":"a_shape","window":)" + number(p.window) + "}";
    case HeadPolicyType::kVerticalSlash:
      return R"({"shared":)" + shared + R"(,"slash":)" + number(p.slash) + R"(,"type":"vertical_slash","vertical":)" + number(p.vertical) + "}";
    case HeadPolicyType::kBlockSparse:
      return R"({"shared":)" + shared + R"(,"top_k":)" + number(p.top_k) + R"(,"type":"block_sparse"})";
    case HeadPolicyType::kBlockEnergy:
      return R"({"alpha":)" + Fraction(p.alpha) + R"(,"mean_correction":)" + (p.mean_correction ? "true" : "false") + R"(,"shared":)" + shared +
             R"(,"sink":)" + number(p.sink) + R"(,"tau":)" + Fraction(p.tau) + R"(,"type":"block_energy","window":)" + number(p.window) + "}";
  }
  return "";
}

}  // namespace longshore
