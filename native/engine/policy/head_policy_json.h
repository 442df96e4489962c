// One head policy between JSON and its struct.
#pragma once

#include <string>

#include "engine/formats/json.h"
#include "engine/policy/attention_policy.h"

namespace longshore {

// `where` names the member in messages. Errors: ParsePolicy's.
Result<HeadPolicy> ReadHeadPolicy(const JsonValue& value, const std::string& where);

// Canonical JSON: the type and the members it uses, sorted.
std::string HeadPolicyJson(const HeadPolicy& policy);

}  // namespace longshore
