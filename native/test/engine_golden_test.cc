// The engine's logits against transformers' in f32 (test/golden/make_tiny_models.py), and against the needle model's golden files
// where ../shared/models/needle is present.
#include <filesystem>

#include "test/engine_fixture.h"

namespace longshore {
namespace {

using namespace test;

constexpr const char* kModels[][2] = {  // file or folder, golden name
    {"tiny/llama", "llama"},
    {"tiny/llama.gguf", "llama"},
    {"tiny/llama-linear", "llama-linear"},
    {"tiny/llama-llama3", "llama-llama3"},
    {"tiny/llama-llama3.gguf", "llama-llama3"},
    {"tiny/llama-yarn", "llama-yarn"},
    {"tiny/mistral-untied", "mistral-untied"},
    {"tiny/qwen2-sharded", "qwen2-sharded"},
    {"tiny/qwen3", "qwen3"},
    {"tiny/gemma3", "gemma3"},
    {"tiny/gemma3.gguf", "gemma3"},
    {"tiny/gemma3-scaled", "gemma3-scaled"},
    {"tiny/llama-quantized.gguf", "llama-quantized"},
};

void CompareWithGolden(const EngineOptions& options, const std::string& name, double tolerance, double rms_tolerance) {
  const std::unique_ptr<Engine> engine = Open(options);
  REQUIRE(engine != nullptr);
  for (const GoldenPrompt& p : ReadGolden(name)) {
    const std::vector<float> logits = Logits(*engine, p.tokens, 0, Blocks(0, options.kv_blocks));
    REQUIRE(logits.size() == p.tokens.size() * engine->info().vocab);
    const Difference d = Compare(logits, p, engine->info().vocab);
    if (d.max > tolerance || d.rms > rms_tolerance)
      Fail(__FILE__, __LINE__, options.model_path + " " + engine->info().numerics + ": logits differ by up to " + Show(d.max) + ", rms " + Show(d.rms));
  }
}

TEST(exact_logits_are_within_a_thousandth_of_transformers) {
  for (const auto& [model, name] : kModels)
    for (const std::string& isa : Isas())
      CompareWithGolden({.model_path = GoldenPath(model), .threads = 2, .kv_blocks = 3, .kv_dtype = KvDtype::kF32, .exact = true, .isa = isa}, name, 1e-3, 1e-3);
}

TEST(float_weights_give_exact_logits_without_exact_mode) {
  for (const auto& [model, name] : kModels) {
    if (std::string(name) == "llama-quantized") continue;
    for (const std::string& isa : Isas())
      CompareWithGolden({.model_path = GoldenPath(model), .threads = 2, .kv_blocks = 3, .kv_dtype = KvDtype::kF32, .isa = isa}, name, 1e-3, 1e-3);
  }
}

// These models' logits have a standard deviation of about 4 and sharp attention, so that roundings show.
TEST(bf16_keys_and_values_move_logits_by_hundredths) {
  for (const auto& [model, name] : kModels) {
    if (std::string(name) == "llama-quantized") continue;
    for (const std::string& isa : Isas())
      CompareWithGolden({.model_path = GoldenPath(model), .threads = 2, .kv_blocks = 3, .isa = isa}, name, 0.3, 0.05);
  }
}

TEST(quantized_weights_of_every_type_with_quantized_activations_stay_near_the_dequantized_model) {
  for (const std::string& isa : Isas())
    CompareWithGolden({.model_path = GoldenPath("tiny/llama-quantized.gguf"), .threads = 2, .kv_blocks = 3, .kv_dtype = KvDtype::kF32, .isa = isa}, "llama-quantized", 0.3, 0.05);
}

std::string NeedlePath() { return RepositoryRoot() + "/../shared/models/needle"; }

TEST(needle_model_has_its_golden_logits_and_retrievals_where_present) {
  if (!std::filesystem::exists(NeedlePath() + "/config.json")) {
    std::printf("     (no needle model beside the repository)\n");
    return;
  }
  const JsonValue prompt = ParseFile(NeedlePath() + "/golden/prompt_tokens.json");
  const std::vector<uint8_t> bytes = ReadFileBytes(NeedlePath() + "/golden/logits.safetensors");
  Result<std::vector<Tensor>> tensors = ParseSafetensors(bytes);
  REQUIRE(tensors.ok() && tensors.value().size() == 1);
  GoldenPrompt golden{Integers(prompt.Find("ids")), {}, {}};
  for (uint32_t i = 0; i < golden.tokens.size(); ++i) golden.positions.push_back(i);
  golden.logits.resize(tensors.value()[0].bytes / 4);
  std::memcpy(golden.logits.data(), tensors.value()[0].data, tensors.value()[0].bytes);
  const JsonValue greedy = ParseFile(NeedlePath() + "/golden/greedy.json");
#if defined(__SANITIZE_ADDRESS__)
  const std::vector<std::string> isas = {"auto"};  // prompts of 4,000 tokens take the sanitizers minutes
#else
  const std::vector<std::string> isas = Isas();
#endif
  for (const std::string& isa : isas)
    for (const KvDtype dtype : {KvDtype::kF32, KvDtype::kBf16}) {
      const std::unique_ptr<Engine> engine = Open({.model_path = NeedlePath(), .kv_blocks = 70, .kv_dtype = dtype, .max_batch_tokens = 9000, .isa = isa});
      REQUIRE(engine != nullptr);
      const Difference d = Compare(Logits(*engine, golden.tokens, 0, Blocks(0, 70)), golden, engine->info().vocab);
      std::printf("     %s kv %s: max %.5f rms %.5f\n", engine->info().numerics.c_str(), dtype == KvDtype::kF32 ? "f32" : "bf16", d.max, d.rms);
      if (dtype == KvDtype::kF32) CHECK(d.max <= 1e-3);
      for (const JsonValue& c : *greedy.Find("cases")->array()) {
        StepItem item{.tokens = Integers(c.Find("prompt_ids")), .block_table = Blocks(0, 70), .sample = true};
        for (const uint32_t expected : Integers(c.Find("new_ids"))) {
          std::vector<StepOutput> out;
          CHECK_OK(engine->Step({&item, 1}, &out, nullptr));
          REQUIRE(out.size() == 1);
          CHECK_EQ(out[0].token, int64_t{expected});
          item.position += static_cast<uint32_t>(item.tokens.size());
          item.tokens = {expected};
        }
      }
    }
}

}  // namespace
}  // namespace longshore

TEST_MAIN
