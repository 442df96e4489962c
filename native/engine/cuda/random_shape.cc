#include "engine/cuda/random_shape.h"

#include <charconv>
#include <string_view>

namespace longshore::cuda {
namespace {

constexpr std::string_view kPrefix = "random:";

Hyperparameters Llama3() {
  Hyperparameters h;
  h.layers = 32;
  h.hidden = 4096;
  h.heads = 32;
  h.kv_heads = 8;
  h.head_dim = 128;
  h.intermediate = 14336;
  h.vocab = 128256;
  h.context_length = 1u << 20;
  h.rms_eps = 1e-5f;
  h.rope_theta = 500000.0;
  h.rope_dims = 128;
  h.name = "llama-3-8b, random weights";
  return h;
}

template <typename T>
bool ReadNumber(std::string_view text, T* to) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *to);
  return error == std::errc() && end == text.data() + text.size();
}

bool Set(RandomShape* shape, std::string_view name, std::string_view value) {
  if (name == "layers") return ReadNumber(value, &shape->hyperparameters.layers) && shape->hyperparameters.layers > 0 && shape->hyperparameters.layers <= 32;
  if (name == "seed") return ReadNumber(value, &shape->seed);
  if (name == "query_scale") return ReadNumber(value, &shape->query_scale) && shape->query_scale > 0.f && shape->query_scale < 100.f;
  return false;
}

}  // namespace

bool NamesRandomShape(const std::string& path) { return path.starts_with(kPrefix); }

Result<RandomShape> ParseRandomShape(const std::string& path) {
  std::string_view rest = std::string_view(path).substr(kPrefix.size());
  RandomShape shape;
  for (bool first = true; first || !rest.empty(); first = false) {
    const std::string_view part = rest.substr(0, rest.find(','));
    rest = part.size() < rest.size() ? rest.substr(part.size() + 1) : std::string_view();
    const size_t equals = part.find('=');
    if (first && part == "llama-3-8b") shape.hyperparameters = Llama3();
    else if (first || equals == part.npos || !Set(&shape, part.substr(0, equals), part.substr(equals + 1)))
      return Status(Code::kInvalidArgument, "'" + std::string(part) + "' of '" + path + "' is unknown; use random:llama-3-8b[,layers=1..32][,seed=n][,query_scale=x]");
  }
  return shape;
}

}  // namespace longshore::cuda
