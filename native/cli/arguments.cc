#include "cli/arguments.h"

#include <charconv>
#include <cctype>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>

namespace longshore::cli {
namespace {

constexpr size_t kMaxTokens = 1u << 24;
constexpr uint64_t kMaxBeam = 1024;

template <typename T>
std::optional<T> ParseWhole(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional<T>(value) : std::nullopt;
}

std::optional<std::vector<uint32_t>> ParseIntegers(const std::string& text) {
  std::vector<uint32_t> numbers;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    if (*at == ',' || std::isspace(static_cast<unsigned char>(*at))) {
      at++;
      continue;
    }
    uint32_t number = 0;
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc() || numbers.size() >= kMaxTokens) return std::nullopt;
    numbers.push_back(number);
    at = next;
  }
  return numbers;
}

}  // namespace

Result<Arguments> Arguments::Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 2; i < argc; i++) {
    const std::string word = argv[i];
    if (!word.starts_with("--") || word.size() == 2) return Status{Code::kInvalidArgument, "expected --name, got \"" + word + "\""};
    const bool value = i + 1 < argc && !std::string(argv[i + 1]).starts_with("--");
    arguments.values_[word.substr(2)] = value ? argv[++i] : "true";
  }
  return arguments;
}

std::string Arguments::Text(const std::string& name, const std::string& fallback) {
  read_[name] = true;
  const auto it = values_.find(name);
  return it == values_.end() ? fallback : it->second;
}

uint64_t Arguments::Integer(const std::string& name, uint64_t fallback, uint64_t most) {
  if (!Has(name)) return read_[name] = true, fallback;
  const auto value = ParseWhole<uint64_t>(Text(name));
  if (!value || *value > most) Fail(name, "an integer up to " + std::to_string(most));
  return value.value_or(fallback);
}

double Arguments::Number(const std::string& name, double fallback) {
  if (!Has(name)) return read_[name] = true, fallback;
  const auto value = ParseWhole<double>(Text(name));
  if (!value) Fail(name, "a number");
  return value.value_or(fallback);
}

std::vector<uint32_t> Arguments::Integers(const std::string& name, std::vector<uint32_t> fallback) {
  if (!Has(name)) return read_[name] = true, fallback;
  auto value = ParseIntegers(Text(name));
  if (!value || value->empty()) Fail(name, "integers separated by commas");
  return value.value_or(fallback);
}

std::string Arguments::Choice(const std::string& name, const std::vector<std::string>& choices) {
  const std::string value = Text(name, choices.front());
  std::string list;
  for (const std::string& choice : choices) {
    if (value == choice) return value;
    list += (list.empty() ? "" : " or ") + choice;
  }
  Fail(name, list);
  return choices.front();
}

void Arguments::Fail(const std::string& name, const std::string& expected) {
  if (status_.ok()) status_ = {Code::kInvalidArgument, "--" + name + " needs " + expected};
}

Status Arguments::Finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : values_) {
    if (!read_.contains(name)) return {Code::kInvalidArgument, "unknown option --" + name};
  }
  return Status::Ok();
}

EngineOptions ReadEngineOptions(Arguments& a) {
  EngineOptions options;
  options.model_path = a.Text("model");
  options.backend = a.Text("backend", "auto");
  options.threads = static_cast<uint32_t>(a.Integer("threads", 0));
  options.kv_dtype = a.Text("kv", "bf16") == "f32" ? KvDtype::kF32 : KvDtype::kBf16;
  options.max_batch_tokens = static_cast<uint32_t>(a.Integer("batch", options.max_batch_tokens));
  options.exact = a.Switch("exact");
  options.isa = a.Text("isa", "auto");
  options.policy = a.Text("policy", "dense");
  if (const std::string kind = a.Choice("decode-policy", {"of the policy", "dense", "sketch_topk", "block_topk", "graph"}); kind != "of the policy") {
    DecodePolicy& p = options.decode.emplace();
    p.kind = kind == "sketch_topk" ? DecodeKind::kSketchTopk : kind == "block_topk" ? DecodeKind::kBlockTopk : kind == "graph" ? DecodeKind::kGraph : DecodeKind::kDense;
    p.min_tokens = static_cast<uint32_t>(a.Integer("decode-min", p.min_tokens));
    p.rescore = static_cast<float>(a.Number("rescore", static_cast<double>(p.rescore)));
    p.keep = static_cast<float>(a.Number("keep", static_cast<double>(p.keep)));
    p.blocks = static_cast<float>(a.Number("blocks", static_cast<double>(p.blocks)));
    p.beam = static_cast<uint32_t>(a.Integer("beam", p.beam, kMaxBeam));
    p.scan = static_cast<float>(a.Number("scan", static_cast<double>(p.scan)));
    p.sample = static_cast<uint32_t>(a.Integer("sample", p.sample));
    p.nearest = static_cast<uint32_t>(a.Integer("nearest", p.nearest, kMaxBeam));
    p.degree = static_cast<uint32_t>(a.Integer("degree", p.degree, kMaxBeam));
  }
  return options;
}

SamplingParams ReadSampling(Arguments& a) {
  SamplingParams p;
  p.temperature = static_cast<float>(a.Number("temperature", 0));
  p.top_k = static_cast<uint32_t>(a.Integer("top-k", 0));
  p.top_p = static_cast<float>(a.Number("top-p", 1));
  p.min_p = static_cast<float>(a.Number("min-p", 0));
  p.repetition_penalty = static_cast<float>(a.Number("repetition-penalty", 1));
  p.presence_penalty = static_cast<float>(a.Number("presence-penalty", 0));
  p.frequency_penalty = static_cast<float>(a.Number("frequency-penalty", 0));
  p.seed = a.Integer("seed", 0, UINT64_MAX);
  return p;
}

Result<std::vector<uint32_t>> ReadTokens(const std::string& text) {
  std::string content = text;
  if (text == "-") {
    content.assign(std::istreambuf_iterator<char>(std::cin), {});
  } else if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) {
    std::ifstream file(text, std::ios::binary);
    if (!file) return Status{Code::kNotFound, "no token file \"" + text + "\": give ids (1,2,3), a file of them, or - for standard input"};
    content.assign(std::istreambuf_iterator<char>(file), {});
  }
  auto tokens = ParseIntegers(content);
  if (!tokens || tokens->empty()) return Status{Code::kCorrupt, "\"" + text + "\" does not hold token ids separated by commas, spaces or newlines"};
  return std::move(*tokens);
}

}  // namespace longshore::cli
