// Opening tiny golden models and running steps, for the engine's tests.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/formats/json.h"
#include "engine/formats/safetensors.h"
#include "test/check.h"
#include "test/golden_files.h"

namespace longshore::test {

// Prints the reason and returns null when it cannot be opened.
inline std::unique_ptr<Engine> Open(EngineOptions options) {
  Result<std::unique_ptr<Engine>> engine = Engine::Open(options);
  if (engine.ok()) return std::move(engine.value());
  Fail(__FILE__, __LINE__, options.model_path + ": " + engine.status().message());
  return nullptr;
}

inline std::vector<std::string> Isas() {
  std::vector<std::string> names;
  for (const char* isa : {"portable", "avx2", "avx512"}) {
    EngineOptions o{.model_path = GoldenPath("tiny/llama"), .threads = 1, .kv_blocks = 1, .max_batch_tokens = 1, .isa = isa};
    if (Engine::Open(o).ok()) names.push_back(isa);
  }
  return names;
}

inline std::vector<uint32_t> Blocks(uint32_t first, uint32_t count) {
  std::vector<uint32_t> table(count);
  for (uint32_t i = 0; i < count; ++i) table[i] = first + i;
  return table;
}

// Logits [tokens, vocab] of tokens at `position`, in one step.
inline std::vector<float> Logits(Engine& engine, const std::vector<uint32_t>& tokens, uint32_t position, const std::vector<uint32_t>& table) {
  const StepItem item{.tokens = tokens, .position = position, .block_table = table, .want_logits = true};
  std::vector<StepOutput> out;
  CHECK_OK(engine.Step({&item, 1}, &out, nullptr));
  return out.empty() ? std::vector<float>() : out[0].logits;
}

struct GoldenPrompt {
  std::vector<uint32_t> tokens, positions;
  std::vector<float> logits;  // [positions, vocab]
};

inline std::vector<uint32_t> Integers(const JsonValue* list) {
  std::vector<uint32_t> out;
  if (list && list->array())
    for (const JsonValue& v : *list->array()) out.push_back(static_cast<uint32_t>(*v.integer()));
  return out;
}

inline JsonValue ParseFile(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFileBytes(path);
  Result<JsonValue> json = ParseJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (json.ok()) return std::move(json.value());
  Fail(__FILE__, __LINE__, path + ": " + json.status().message());
  return JsonValue();
}

// test/golden/tiny/NAME.golden.{json,safetensors}; empty, and a failure, when they cannot be read.
inline std::vector<GoldenPrompt> ReadGolden(const std::string& name) {
  const JsonValue json = ParseFile(GoldenPath("tiny/" + name + ".golden.json"));
  const std::vector<uint8_t> bytes = ReadFileBytes(GoldenPath("tiny/" + name + ".golden.safetensors"));
  Result<std::vector<Tensor>> tensors = ParseSafetensors(bytes);
  std::vector<GoldenPrompt> prompts;
  const JsonValue* list = json.Find("prompts");
  if (!tensors.ok() || !list || !list->array()) {
    Fail(__FILE__, __LINE__, "golden files of " + name + " cannot be read");
    return prompts;
  }
  for (size_t i = 0; i < list->array()->size(); ++i) {
    const JsonValue& p = (*list->array())[i];
    GoldenPrompt& prompt = prompts.emplace_back(GoldenPrompt{Integers(p.Find("tokens")), Integers(p.Find("positions")), {}});
    for (const Tensor& t : tensors.value())
      if (t.name == "logits." + std::to_string(i)) {
        prompt.logits.resize(t.bytes / 4);
        std::memcpy(prompt.logits.data(), t.data, t.bytes);
      }
    CHECK(!prompt.logits.empty());
  }
  return prompts;
}

struct Difference {
  double max = 0, rms = 0;
};

// Over the golden positions.
inline Difference Compare(const std::vector<float>& all, const GoldenPrompt& p, uint32_t vocab) {
  Difference d;
  for (size_t i = 0; i < p.positions.size(); ++i)
    for (uint32_t v = 0; v < vocab; ++v) {
      const double x = static_cast<double>(all[size_t{p.positions[i]} * vocab + v]) - static_cast<double>(p.logits[i * vocab + v]);
      d.max = std::max(d.max, std::isnan(x) ? 1e30 : std::fabs(x));
      d.rms += x * x;
    }
  d.rms = std::sqrt(d.rms / static_cast<double>(p.logits.size()));
  return d;
}

}  // namespace longshore::test
