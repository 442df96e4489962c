// Policies that come with the engine, as the text a file would hold.
#pragma once

#include <string_view>

namespace longshore {

// Empty for an unknown name.
std::string_view BuiltInPolicy(std::string_view name);

// "dense, default, ...": for messages.
const char* BuiltInPolicyNames();

}  // namespace longshore
