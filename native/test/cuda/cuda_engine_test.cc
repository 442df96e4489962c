// The CUDA engine against the CPU engine in exact mode (f32 arithmetic, bf16 KV). Needs a card of compute capability 8.0 or later.
// LONGSHORE_NEEDLE_MODEL: the needle model's folder, for the greedy comparison; it is left out, and says so, when unset.
#include <cstdlib>
#include <numeric>

#include "engine/sampler.h"
#include "test/cuda/random_model.h"
#include "test/engine_fixture.h"

namespace longshore {
namespace {

using namespace test;

// bf16 weights are exact on both sides; activations are rounded to bf16 at some ten places a layer, each by 2^-9 of its value.
constexpr double kTolerance = 2e-2;

const RandomModel kLlama = {"llama", 3, 512, 8, 2, 128, 1024, 640};
const RandomModel kSmall = {"llama", 3, 576, 9, 3, 64, 1536, 1000, true};
const RandomModel kQwen2 = {"qwen2", 2, 448, 7, 1, 64, 1216, 640};
const RandomModel kQwen3 = {"qwen3", 2, 256, 8, 2, 128, 768, 640};

std::unique_ptr<Engine> OpenOn(const char* backend, const std::string& model, uint32_t blocks = 64, uint32_t batch = 2048, const std::string& policy = "dense") {
  return Open({.model_path = model, .backend = backend, .kv_blocks = blocks, .max_batch_tokens = batch, .exact = std::string_view(backend) == "cpu", .policy = policy});
}

std::vector<uint32_t> Prompt(uint64_t seed, uint32_t vocab, uint32_t count) {
  Random random(seed);
  std::vector<uint32_t> tokens(count);
  for (uint32_t& t : tokens) t = random.Below(vocab);
  return tokens;
}

double RelativeError(const std::vector<float>& got, const std::vector<float>& want) {
  if (got.size() != want.size() || got.empty()) return 1e30;
  double error = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double d = static_cast<double>(got[i]) - want[i];
    error += d * d;
    norm += static_cast<double>(want[i]) * want[i];
  }
  const double relative = std::sqrt(error / norm);
  return std::isnan(relative) ? 1e30 : relative;
}

void CheckLogits(const char* what, const std::vector<float>& got, const std::vector<float>& want) {
  const double error = RelativeError(got, want);
  std::printf("  %s: relative error %.2e\n", what, error);
  CHECK(error < kTolerance);
}

TEST(logits_of_every_family_are_the_cpu_engines) {
  for (const RandomModel* model : {&kLlama, &kSmall, &kQwen2, &kQwen3}) {
    const std::string path = WriteRandomModel(*model, 11);
    auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path);
    REQUIRE(cpu && card);
    CHECK_EQ(card->info().backend, "cuda");
    const auto prompt = Prompt(1, model->vocab, 333);
    const std::string what = model->type + " of head_dim " + std::to_string(model->head_dim);
    CheckLogits(what.c_str(), Logits(*card, prompt, 0, Blocks(3, 3)), Logits(*cpu, prompt, 0, Blocks(3, 3)));
  }
}

// Prefill, then tokens one by one (products with few rows, split-KV attention, a captured graph from the second on).
TEST(decoded_tokens_have_the_cpu_engines_logits) {
  for (const RandomModel* model : {&kLlama, &kSmall, &kQwen2, &kQwen3}) {
    const std::string path = WriteRandomModel(*model, 12);
    auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path);
    REQUIRE(cpu && card);
    const auto prompt = Prompt(2, model->vocab, 261);
    const std::vector<uint32_t> start(prompt.begin(), prompt.begin() + 250);
    Logits(*card, start, 0, Blocks(0, 3));
    const std::vector<float> want = Logits(*cpu, prompt, 0, Blocks(0, 3));
    std::vector<float> got;
    for (uint32_t i = 250; i < 261; ++i) {
      const std::vector<float> row = Logits(*card, {prompt[i]}, i, Blocks(0, 3));
      got.insert(got.end(), row.begin(), row.end());
      // The same token through the graph: what it draws is the best of these logits.
      const StepItem item{.tokens = {prompt[i]}, .position = i, .block_table = Blocks(0, 3), .sample = true};
      std::vector<StepOutput> out;
      CHECK_OK(card->Step({&item, 1}, &out, nullptr));
      CHECK_EQ(out[0].token, std::max_element(row.begin(), row.end()) - row.begin());
    }
    CheckLogits((model->type + " of head_dim " + std::to_string(model->head_dim)).c_str(), got, {want.begin() + 250 * size_t{model->vocab}, want.end()});
  }
}

// Prefill chunks over cached prefixes, first chunks and single tokens of different sequences in one step.
TEST(a_ragged_batch_gives_each_sequence_its_own_logits) {
  const std::string path = WriteRandomModel(kLlama, 13);
  auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path);
  REQUIRE(cpu && card);
  const uint32_t lengths[] = {400, 129, 1, 300, 5, 257}, before[] = {0, 128, 0, 299, 2, 100};
  std::vector<StepItem> first, second;
  std::vector<std::vector<float>> want;
  for (uint32_t i = 0; i < 6; ++i) {
    const auto prompt = Prompt(20 + i, kLlama.vocab, lengths[i]);
    const auto table = Blocks(4 * i, 4);
    const std::vector<float> all = Logits(*cpu, prompt, 0, Blocks(40, 4));
    want.emplace_back(all.begin() + size_t{before[i]} * kLlama.vocab, all.end());
    if (before[i] > 0) first.push_back({.tokens = {prompt.begin(), prompt.begin() + before[i]}, .block_table = table});
    second.push_back({.tokens = {prompt.begin() + before[i], prompt.end()}, .position = before[i], .block_table = table, .want_logits = true});
  }
  std::vector<StepOutput> out;
  CHECK_OK(card->Step(first, &out, nullptr));
  CHECK_OK(card->Step(second, &out, nullptr));
  for (uint32_t i = 0; i < 6; ++i) CheckLogits("sequence", out[i].logits, want[i]);
}

TEST(chunks_of_any_length_give_the_whole_prompts_logits) {
  const std::string path = WriteRandomModel(kSmall, 14);
  auto card = OpenOn("cuda", path);
  REQUIRE(card);
  const auto prompt = Prompt(3, kSmall.vocab, 700);
  const std::vector<float> whole = Logits(*card, prompt, 0, Blocks(0, 6));
  for (const uint32_t chunk : {1u, 7u, 128u, 300u}) {
    std::vector<float> got;
    for (uint32_t at = 0; at < 700; at += chunk) {
      const auto part = Logits(*card, {prompt.begin() + at, prompt.begin() + std::min(700u, at + chunk)}, at, Blocks(8, 6));
      got.insert(got.end(), part.begin(), part.end());
    }
    CheckLogits(("chunks of " + std::to_string(chunk)).c_str(), got, whole);
  }
}

TEST(a_sequence_decodes_to_the_same_tokens_alone_and_in_a_batch) {
  const std::string path = WriteRandomModel(kLlama, 15);
  auto card = OpenOn("cuda", path);
  REQUIRE(card);
  std::vector<std::vector<uint32_t>> sequences;
  for (uint32_t i = 0; i < 5; ++i) sequences.push_back(Prompt(30 + i, kLlama.vocab, 50 + 60 * i));
  const auto decode = [&](uint32_t first, uint32_t count) {
    auto texts = sequences;
    std::vector<StepOutput> out;
    for (uint32_t step = 0; step < 12; ++step) {
      std::vector<StepItem> items;
      for (uint32_t i = first; i < first + count; ++i) {
        const bool begin = step == 0;
        items.push_back({.tokens = begin ? texts[i] : std::vector<uint32_t>{texts[i].back()}, .position = begin ? 0 : static_cast<uint32_t>(texts[i].size()) - 1,
                         .block_table = Blocks(4 * i, 4), .sample = true});
      }
      if (step == 0) {  // one by one: a batch's products may round differently
        for (const StepItem& item : items) {
          CHECK_OK(card->Step({&item, 1}, &out, nullptr));
          texts[first + (&item - items.data())].push_back(static_cast<uint32_t>(out[0].token));
        }
        continue;
      }
      CHECK_OK(card->Step(items, &out, nullptr));
      for (uint32_t i = 0; i < count; ++i) texts[first + i].push_back(static_cast<uint32_t>(out[i].token));
    }
    return texts;
  };
  const auto together = decode(0, 5);
  for (uint32_t i = 0; i < 5; ++i) CHECK(decode(i, 1)[i] == together[i]);
}

TEST(blocks_read_and_written_carry_a_sequence_to_other_blocks) {
  for (const RandomModel* model : {&kLlama, &kSmall}) {
    const std::string path = WriteRandomModel(*model, 16);
    auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path), other = OpenOn("cuda", path);
    REQUIRE(cpu && card && other);
    const auto prompt = Prompt(4, model->vocab, 300);
    Logits(*card, prompt, 0, Blocks(0, 3));
    Logits(*cpu, prompt, 0, Blocks(0, 3));
    const ModelInfo& info = card->info();
    for (uint32_t block = 0; block < 3; ++block)
      for (uint32_t layer = 0; layer < info.layers; ++layer) {
        const uint32_t tokens = block == 2 ? 300 - 256 : 128;
        std::vector<uint8_t> raw(info.kv_bytes_per_token / info.layers * tokens), want(raw.size()), again(raw.size());
        CHECK_OK(card->ReadBlock(block, layer, tokens, raw));
        CHECK_OK(cpu->ReadBlock(block, layer, tokens, want));
        std::vector<float> a, b;
        for (size_t i = 0; i < raw.size(); i += 2) {
          uint16_t x, y;
          std::memcpy(&x, &raw[i], 2);
          std::memcpy(&y, &want[i], 2);
          a.push_back(FromBf16(x));
          b.push_back(FromBf16(y));
        }
        CHECK(RelativeError(a, b) < kTolerance);
        CHECK_OK(other->WriteBlock(10 + block, layer, tokens, raw));
        CHECK_OK(other->ReadBlock(10 + block, layer, tokens, again));
        CHECK(raw == again);
      }
    const std::vector<uint32_t> next = {5};
    CHECK(Logits(*card, next, 300, Blocks(0, 3)) == Logits(*other, next, 300, Blocks(10, 3)));
  }
}

TEST(the_cards_draw_is_the_host_samplers) {
  const std::string path = WriteRandomModel(kLlama, 17);
  auto card = OpenOn("cuda", path);
  REQUIRE(card);
  const auto prompt = Prompt(5, kLlama.vocab, 40);
  const std::vector<float> all = Logits(*card, prompt, 0, Blocks(0, 1));
  const std::vector<float> logits(all.end() - kLlama.vocab, all.end());
  for (uint64_t seed = 0; seed < 40; ++seed) {
    StepItem item{.tokens = prompt, .block_table = Blocks(0, 1), .sample = true};
    item.sampling.temperature = seed % 4 == 0 ? 0.f : 0.5f + 0.1f * static_cast<float>(seed % 7);
    item.sampling.top_k = seed % 3 == 0 ? 20 : 0;
    item.sampling.top_p = seed % 5 == 0 ? 0.8f : 1.f;
    item.sampling.seed = seed;
    item.sampling.logprobs = true;
    std::vector<StepOutput> out;
    CHECK_OK(card->Step({&item, 1}, &out, nullptr));
    StepOutput want;
    CHECK_OK(Sample(logits, item.sampling, {}, prompt.size(), &want));
    CHECK_EQ(out[0].token, want.token);
    CHECK_NEAR(out[0].logprob, want.logprob, 1e-4);
  }
  // Penalties go through the host.
  StepItem item{.tokens = prompt, .block_table = Blocks(0, 1), .sample = true, .history = prompt};
  item.sampling.repetition_penalty = 1.3f;
  item.sampling.top_logprobs = 3;
  std::vector<StepOutput> out;
  CHECK_OK(card->Step({&item, 1}, &out, nullptr));
  StepOutput want;
  CHECK_OK(Sample(logits, item.sampling, prompt, prompt.size(), &want));
  CHECK_EQ(out[0].token, want.token);
  CHECK_EQ(out[0].top.size(), 3u);
}

// Attention that leaves out what carries no mass: the energies of a random model are all alike, so nearly every block is listed, and the
// answers must be the dense ones although every kernel of the sparse path ran.
TEST(block_energy_over_flat_attention_gives_the_dense_logits) {
  const std::string path = WriteRandomModel(kLlama, 18);
  const std::string policy = path + "/policy.json";
  std::ofstream(policy) << R"({"format":"longshore-attention-policy","version":1,"min_tokens":256,"default":{"type":"block_energy","alpha":0.001,"sink":256,"window":512}})";
  auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path, 64, 2048, policy);
  REQUIRE(cpu && card);
  const auto prompt = Prompt(6, kLlama.vocab, 1900);
  const std::vector<float> want = Logits(*cpu, prompt, 0, Blocks(0, 15));
  CheckLogits("whole", Logits(*card, prompt, 0, Blocks(0, 15)), want);
  Logits(*card, {prompt.begin(), prompt.begin() + 1024}, 0, Blocks(20, 15));
  CheckLogits("second chunk", Logits(*card, {prompt.begin() + 1024, prompt.end()}, 1024, Blocks(20, 15)), {want.begin() + size_t{1024} * kLlama.vocab, want.end()});
}

TEST(a_cancelled_step_says_so_and_can_be_submitted_again) {
  const std::string path = WriteRandomModel(kLlama, 19);
  auto card = OpenOn("cuda", path, 64, 4096);
  REQUIRE(card);
  const auto prompt = Prompt(7, kLlama.vocab, 4000);
  const StepItem item{.tokens = prompt, .block_table = Blocks(0, 32), .sample = true};
  std::vector<StepOutput> out, again;
  CHECK_OK(card->Step({&item, 1}, &out, nullptr));
  std::atomic<int32_t> cancel{1};
  CHECK_EQ(card->Step({&item, 1}, &again, &cancel).code(), Code::kCancelled);
  CHECK_EQ(card->stats().aborted_steps, 1u);
  CHECK_OK(card->Step({&item, 1}, &again, nullptr));
  CHECK_EQ(out[0].token, again[0].token);
}

TEST(what_the_card_does_not_serve_is_refused_in_words) {
  const std::string path = WriteRandomModel(kLlama, 20);
  const auto refused = [](EngineOptions o) {
    o.backend = "cuda";
    const auto engine = Engine::Open(o);
    return engine.ok() ? Code::kOk : engine.status().code();
  };
  CHECK_EQ(refused({.model_path = path, .exact = true}), Code::kUnsupported);
  CHECK_EQ(refused({.model_path = path, .kv_dtype = KvDtype::kF32}), Code::kUnsupported);
  CHECK_EQ(refused({.model_path = path, .kv_blocks = 1u << 20}), Code::kOutOfMemory);
  const auto automatic = Engine::Open({.model_path = path, .backend = "auto", .kv_dtype = KvDtype::kF32});
  CHECK_OK(automatic);
  if (automatic.ok()) CHECK_EQ(automatic.value()->info().backend, "cpu");
}

TEST(the_needle_model_gives_the_cpu_engines_greedy_tokens) {
  const char* path = std::getenv("LONGSHORE_NEEDLE_MODEL");
  if (path == nullptr) {
    std::printf("  left out: LONGSHORE_NEEDLE_MODEL is not set\n");
    return;
  }
  auto cpu = OpenOn("cpu", path), card = OpenOn("cuda", path);
  REQUIRE(cpu && card);
  const uint32_t vocab = card->info().vocab;
  uint32_t compared = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {
    std::vector<uint32_t> prompt = Prompt(40 + seed, vocab - 110, 600);
    for (uint32_t& t : prompt) t += 100;  // its text
    std::vector<uint32_t> tokens[2];
    for (int which = 0; which < 2; ++which) {
      Engine& engine = which == 0 ? *cpu : *card;
      std::vector<uint32_t> text = prompt;
      std::vector<StepOutput> out;
      for (uint32_t step = 0; step < 24; ++step) {
        StepItem item{.tokens = step == 0 ? text : std::vector<uint32_t>{text.back()}, .position = step == 0 ? 0 : static_cast<uint32_t>(text.size()) - 1,
                      .block_table = Blocks(0, 5), .sample = true};
        CHECK_OK(engine.Step({&item, 1}, &out, nullptr));
        text.push_back(static_cast<uint32_t>(out[0].token));
        tokens[which].push_back(text.back());
      }
    }
    CHECK(tokens[0] == tokens[1]);
    compared += 24;
  }
  std::printf("  %u tokens\n", compared);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
