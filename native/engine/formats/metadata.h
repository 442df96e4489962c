// Typed key-value metadata of a model file, as views into the mapping.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <variant>
#include <vector>

namespace longshore {

// Arrays keep one element type; GGUF's integers of every width widen to 64 bits, its floats to double, bools to int64 0/1.
// Strings are views into the file's mapping and live as long as the ModelFile.
using MetadataValue = std::variant<bool, int64_t, uint64_t, double, std::string_view, std::vector<int64_t>,
                                   std::vector<uint64_t>, std::vector<double>, std::vector<std::string_view>>;

using Metadata = std::map<std::string_view, MetadataValue, std::less<>>;

}  // namespace longshore
