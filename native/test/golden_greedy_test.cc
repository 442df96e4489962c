// The engine's greedy text against llama.cpp's: test/golden/{smollm2,gemma3}-greedy.json, made by make_llama_cpp_golden.mjs.
//
// Both quantize activations to 8 bits, and the smallest difference before a rounding decorrelates what follows. Against exact f32
// arithmetic each is wrong by 0.18 to 0.21 (root mean square) in a gap between two logits, so they differ from each other by as much. Hence
// three demands:
//   where llama.cpp itself is decided (every gap of the continuation is 2.3 times that noise), the continuation is equal; a first divergence counts as
//   equal only where the engine's own top-2 gap is under 0.05, and is reported. The rule was found on prompts 01 to 21, then fixed, and
//   held on 31 to 72, which were written afterwards;
//   over all prompts, fed llama.cpp's tokens, the engine prefers the same token nearly always and its gaps agree to within that noise;
//   the engine's error against exact arithmetic is about llama.cpp's own.
//
// The models are too large for the repository: LONGSHORE_TEST_MODEL and LONGSHORE_TEST_GEMMA3 name them, else they are looked for in
// .longshore/models. Without one there is nothing to compare, which the test says; where a variable is set but wrong, it fails.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <numeric>

#include "engine/engine.h"
#include "engine/formats/digest.h"
#include "engine/formats/json.h"
#include "test/check.h"
#include "test/golden_files.h"

using namespace longshore;
namespace fs = std::filesystem;

namespace {

constexpr double kIndifferentGap = 0.05;  // ours, where another token counts as equal
constexpr double kMinAgreement = 0.95;    // share of equal tokens over all prompts, measured 0.978 to 0.983
constexpr uint32_t kContextTokens = 2048;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kLongestPrompt = 40;     // tokens; the sanitizers make more of them take minutes
constexpr size_t kMinDecided = 1, kMinDecidedGemma3 = 0;
#else
constexpr size_t kLongestPrompt = kContextTokens;
constexpr size_t kMinDecided = 14, kMinDecidedGemma3 = 6;
#endif

struct Case {
  std::string name;
  std::vector<uint32_t> prompt, tokens;
  std::vector<double> gaps;  // of llama.cpp, per token

  double smallest_gap() const { return *std::min_element(gaps.begin(), gaps.end()); }
};

struct Source {
  const char *golden, *variable;  // file, environment variable that names the model
  size_t prompts, decided;        // how many, and how many decided ones at least
  double decided_gap;             // llama.cpp's smallest gap in a continuation that must be equal: 2.3 times the noise of gaps
  double max_gap_rms;             // of that noise: 1.5 times what was measured
  size_t longest_exact_prompt;    // tokens; exact arithmetic is slow
  double max_error_ratio;         // ours against llama.cpp's
};
// Measured noise: 0.18 and 0.20 with f32 and bf16 KV; error ratio 1.14.
constexpr Source kSmolLM2 = {"smollm2-greedy.json", "LONGSHORE_TEST_MODEL", 63, kMinDecided, 0.45, 0.3, 60, 1.35};
// Measured noise: 0.40. Error ratio 0.96 (AVX2) to 1.35 (AVX-512) over 624 tokens: single steps with errors of 1 to 6 decide it.
constexpr Source kGemma3 = {"gemma3-greedy.json", "LONGSHORE_TEST_GEMMA3", 21, kMinDecidedGemma3, 0.95, 0.6, 120, 1.6};

struct Golden {
  std::string model_digest;
  std::vector<Case> cases;
};

std::vector<uint32_t> TokenIds(const JsonValue* value) {
  std::vector<uint32_t> ids;
  if (value == nullptr || value->array() == nullptr) return ids;
  for (const JsonValue& id : *value->array()) ids.push_back(static_cast<uint32_t>(id.integer() != nullptr ? *id.integer() : -1));
  return ids;
}

Golden ReadGolden(const Source& source) {
  Golden golden;
  const std::vector<uint8_t> bytes = test::ReadFileBytes(test::GoldenPath(source.golden));
  Result<JsonValue> json = ParseJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!json.ok()) return golden;
  golden.model_digest = "sha256:" + *json.value().Find("model_sha256")->string();
  for (const JsonValue& item : *json.value().Find("cases")->array()) {
    Case c{*item.Find("name")->string(), TokenIds(item.Find("prompt")), TokenIds(item.Find("tokens")), {}};
    for (const JsonValue& gap : *item.Find("gaps")->array()) c.gaps.push_back(gap.number().value_or(0));
    golden.cases.push_back(std::move(c));
  }
  return golden;
}

// The file with that digest: the one that the variable names, or one under .longshore/models. Empty when there is none.
std::string FindModel(const Source& source, const std::string& digest) {
  const auto matches = [&](const std::string& path) {
    const std::vector<std::string> files{path};
    Result<std::string> actual = DigestWeightFiles(files);
    return actual.ok() && actual.value() == digest;
  };
  if (const char* named = std::getenv(source.variable); named != nullptr && *named != '\0') {
    if (!matches(named)) test::Fail(__FILE__, __LINE__, std::string(source.variable) + "=" + named + " is not the model of " + source.golden + " (" + digest + ")");
    return named;
  }
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(test::RepositoryRoot() + "/.longshore/models", error); !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (it->path().extension() == ".gguf" && matches(it->path().string())) return it->path().string();
  }
  return "";
}

// What the engine prefers after the prompt and the first `step` tokens of llama.cpp.
struct Choice {
  uint32_t token = 0, second = 0;
  double gap = 0;  // of the two largest logits
};

// Prefills the prompt in steps of 512, then feeds llama.cpp's tokens one a step.
Status Choose(Engine& engine, const Case& c, std::vector<Choice>* choices) {
  StepItem item;
  item.block_table.resize((c.prompt.size() + c.tokens.size()) / kBlockTokens + 1);
  std::iota(item.block_table.begin(), item.block_table.end(), 0u);
  item.sampling.logprobs = true;
  item.sampling.top_logprobs = 2;
  std::vector<uint32_t> all = c.prompt;
  all.insert(all.end(), c.tokens.begin(), c.tokens.end() - 1);
  std::vector<StepOutput> outputs;
  for (size_t position = 0; position < all.size();) {
    const size_t count = position < c.prompt.size() ? std::min<size_t>(512, c.prompt.size() - position) : 1;
    item.position = static_cast<uint32_t>(position);
    item.tokens.assign(all.begin() + static_cast<std::ptrdiff_t>(position), all.begin() + static_cast<std::ptrdiff_t>(position + count));
    position += count;
    item.sample = position >= c.prompt.size();
    if (Status s = engine.Step({&item, 1}, &outputs, nullptr); !s.ok()) return s;
    if (!item.sample) continue;
    if (outputs[0].top.size() != 2 || outputs[0].token < 0) return {Code::kInternal, "a sampled step reports no two best tokens"};
    const auto& top = outputs[0].top;
    choices->push_back({static_cast<uint32_t>(outputs[0].token), top[1].id, static_cast<double>(top[0].logprob) - static_cast<double>(top[1].logprob)});
  }
  return Status::Ok();
}

struct Agreement {
  size_t tokens = 0, equal = 0;
  double squared_difference = 0;  // of gaps, where the tokens are equal
};

// Adds to `agreement`, and prints the first divergence; false when that one does not count as equal.
bool Judge(const Case& c, bool decided, const std::vector<Choice>& choices, Agreement* agreement) {
  bool diverged = false, counts_as_equal = true;
  for (size_t i = 0; i < choices.size(); ++i) {
    agreement->tokens++;
    if (choices[i].token == c.tokens[i]) {
      agreement->equal++;
      agreement->squared_difference += std::pow(choices[i].gap - c.gaps[i], 2);
    } else if (!diverged) {
      diverged = true;
      counts_as_equal = choices[i].gap < kIndifferentGap;
      std::printf("     %s (%s): first divergence at step %zu, %u for %u, gap %.4f here and %.4f there: %s\n", c.name.c_str(), decided ? "decided" : "free", i, choices[i].token, c.tokens[i],
                  choices[i].gap, c.gaps[i], counts_as_equal ? "counts as equal" : "differs");
    }
  }
  return counts_as_equal;
}

void CompareAll(const Source& source, KvDtype kv_dtype) {
  const Golden golden = ReadGolden(source);
  REQUIRE(golden.cases.size() == source.prompts);
  const std::string model = FindModel(source, golden.model_digest);
  if (model.empty()) {
    std::printf("     not compared: no model in .longshore/models; set %s\n", source.variable);
    return;
  }
  Result<std::unique_ptr<Engine>> engine =
      Engine::Open({.model_path = model, .backend = "cpu", .kv_blocks = kContextTokens / kBlockTokens, .kv_dtype = kv_dtype, .max_batch_tokens = 512});
  CHECK_OK(engine);
  REQUIRE(engine.ok());
  size_t decided = 0, decided_equal = 0, free = 0, free_equal = 0;
  Agreement agreement;
  for (const Case& c : golden.cases) {
    REQUIRE(c.tokens.size() == 48 && c.gaps.size() == 48 && !c.prompt.empty());
    if (c.prompt.size() > kLongestPrompt) continue;
    std::vector<Choice> choices;
    const Status status = Choose(*engine.value(), c, &choices);
    CHECK_OK(status);
    REQUIRE(status.ok());
    CHECK_EQ(choices.size(), c.tokens.size());
    const bool is_decided = c.smallest_gap() >= source.decided_gap;
    const bool equal = Judge(c, is_decided, choices, &agreement);
    (is_decided ? decided : free)++;
    (is_decided ? decided_equal : free_equal) += equal;
  }
  const double rms = std::sqrt(agreement.squared_difference / static_cast<double>(agreement.equal));
  std::printf("     %s: decided %zu of %zu equal, free %zu of %zu equal; %zu of %zu tokens equal, gaps differ by %.3f rms\n", engine.value()->info().numerics.c_str(), decided_equal, decided, free_equal,
              free, agreement.equal, agreement.tokens, rms);
  CHECK_EQ(decided_equal, decided);
  CHECK(decided >= source.decided);
  CHECK(static_cast<double>(agreement.equal) >= kMinAgreement * static_cast<double>(agreement.tokens));
  CHECK(rms < source.max_gap_rms);
  engine.value()->Close();
}

// How far the engine prefers each of llama.cpp's tokens over the best other one of `exact` (or its own, where `others` is empty and
// receives them), all tokens in one step.
Status GapsOf(Engine& engine, const Case& c, std::vector<uint32_t>* others, std::vector<double>* gaps) {
  StepItem item;
  item.block_table.resize((c.prompt.size() + c.tokens.size()) / kBlockTokens + 1);
  std::iota(item.block_table.begin(), item.block_table.end(), 0u);
  item.tokens = c.prompt;
  item.tokens.insert(item.tokens.end(), c.tokens.begin(), c.tokens.end() - 1);
  item.want_logits = true;
  std::vector<StepOutput> outputs;
  if (Status s = engine.Step({&item, 1}, &outputs, nullptr); !s.ok()) return s;
  const size_t vocab = engine.info().vocab;
  const bool choose = others->empty();
  for (size_t i = 0; i < c.tokens.size(); ++i) {
    const float* row = outputs[0].logits.data() + (c.prompt.size() - 1 + i) * vocab;
    if (choose) {
      uint32_t best = c.tokens[i] == 0 ? 1 : 0;
      for (uint32_t id = 0; id < vocab; ++id)
        if (id != c.tokens[i] && row[id] > row[best]) best = id;
      others->push_back(best);
    }
    gaps->push_back(static_cast<double>(row[c.tokens[i]]) - static_cast<double>(row[(*others)[i]]));
  }
  return Status::Ok();
}

void CompareErrors(const Source& source) {
  const Golden golden = ReadGolden(source);
  const std::string model = FindModel(source, golden.model_digest);
  if (model.empty()) {
    std::printf("     not compared: no model in .longshore/models; set %s\n", source.variable);
    return;
  }
  EngineOptions options{.model_path = model, .backend = "cpu", .kv_blocks = 2, .kv_dtype = KvDtype::kF32, .max_batch_tokens = 256, .exact = true};
  Result<std::unique_ptr<Engine>> exact = Engine::Open(options);
  options.exact = false;
  options.kv_dtype = KvDtype::kBf16;
  Result<std::unique_ptr<Engine>> engine = Engine::Open(options);
  REQUIRE(exact.ok() && engine.ok());
  double ours = 0, theirs = 0;
  size_t tokens = 0;
  for (const Case& c : golden.cases) {
    if (c.prompt.size() > source.longest_exact_prompt) continue;
    std::vector<uint32_t> others;
    std::vector<double> right, gaps;
    const Status ran = GapsOf(*exact.value(), c, &others, &right), ran_too = GapsOf(*engine.value(), c, &others, &gaps);
    REQUIRE(ran.ok() && ran_too.ok());
    for (size_t i = 0; i < right.size(); ++i) {
      ours += std::pow(gaps[i] - right[i], 2);
      theirs += std::pow(c.gaps[i] - right[i], 2);
    }
    tokens += right.size();
  }
  REQUIRE(tokens > 0);
  const auto rms = [&](double sum) { return std::sqrt(sum / static_cast<double>(tokens)); };
  std::printf("     gaps differ from exact arithmetic by %.3f rms here, %.3f rms in llama.cpp, over %zu tokens\n", rms(ours), rms(theirs), tokens);
  CHECK(rms(ours) <= source.max_error_ratio * rms(theirs));
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
TEST(error_against_exact_arithmetic_is_about_that_of_llama_cpp) { CompareErrors(kSmolLM2); }

TEST(gemma3s_error_against_exact_arithmetic_is_about_that_of_llama_cpp) { CompareErrors(kGemma3); }
#endif

TEST(greedy_continuations_equal_llama_cpps_with_bf16_kv) { CompareAll(kSmolLM2, KvDtype::kBf16); }

TEST(greedy_continuations_equal_llama_cpps_with_f32_kv) { CompareAll(kSmolLM2, KvDtype::kF32); }

TEST(gemma3s_greedy_continuations_equal_llama_cpps) { CompareAll(kGemma3, KvDtype::kBf16); }

TEST_MAIN
