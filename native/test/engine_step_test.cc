// The engine's face: what it refuses and how, sampling, cancelling, closing.
#include <chrono>
#include <thread>

#include "test/engine_fixture.h"

namespace longshore {
namespace {

using namespace test;

EngineOptions Tiny() { return {.model_path = GoldenPath("tiny/llama"), .threads = 2, .kv_blocks = 6, .max_batch_tokens = 400}; }

Status Step(Engine& engine, const std::vector<StepItem>& items) {
  std::vector<StepOutput> out;
  return engine.Step(items, &out, nullptr);
}

void Refuses(Engine& engine, const std::vector<StepItem>& items, const std::string& part_of_message) {
  const Status s = Step(engine, items);
  CHECK_EQ(s.code(), Code::kInvalidArgument);
  if (s.message().find(part_of_message) == std::string::npos) Fail(__FILE__, __LINE__, "'" + s.message() + "' does not mention '" + part_of_message + "'");
}

TEST(a_step_out_of_range_is_refused_with_the_value_and_the_bound) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  const std::vector<uint32_t> hundred(100, 5);
  Refuses(*engine, {{.tokens = {}, .block_table = {0}}}, "no tokens");
  Refuses(*engine, {{.tokens = {160}, .block_table = {0}}}, "token 160");
  Refuses(*engine, {{.tokens = {0xffffffffu}, .block_table = {0}}}, "vocabulary of 160");
  Refuses(*engine, {{.tokens = {1}, .block_table = {6}}}, "block 6");
  Refuses(*engine, {{.tokens = {1}, .block_table = {}}}, "need 1");
  Refuses(*engine, {{.tokens = {1}, .position = 128, .block_table = {0}}}, "need 2");
  Refuses(*engine, {{.tokens = {1}, .position = 512, .block_table = {0, 1, 2, 3, 4}}}, "context of 512");
  Refuses(*engine, {{.tokens = {1}, .position = 0xffffffffu, .block_table = {0}}}, "context of 512");
  Refuses(*engine, {{.tokens = std::vector<uint32_t>(401, 1), .block_table = {0, 1, 2, 3}}}, "max_batch_tokens is 400");
  Refuses(*engine, {{.tokens = {1}, .block_table = {0}}, {.tokens = {1}, .block_table = {0}}}, "item 1: block 0");
  Refuses(*engine, {{.tokens = {1}, .position = 130, .block_table = {3, 3}}}, "block 3");
  Refuses(*engine, {{.tokens = {1}, .block_table = {0}, .sample = true, .sampling = {.temperature = -1.f}}}, "temperature");
  CHECK_OK(Step(*engine, {{.tokens = hundred, .block_table = {0}}, {.tokens = hundred, .block_table = {1}}}));
  CHECK_OK(Step(*engine, {}));
}

TEST(two_sequences_may_read_a_shared_block) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  const std::vector<uint32_t> prefix(128, 9);
  CHECK_OK(Step(*engine, {{.tokens = prefix, .block_table = {0}}}));
  CHECK_OK(Step(*engine, {{.tokens = {1}, .position = 128, .block_table = {0, 1}}, {.tokens = {2}, .position = 128, .block_table = {0, 2}}}));
}

TEST(block_reads_and_writes_out_of_range_are_refused) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  const ModelInfo& m = engine->info();
  std::vector<uint8_t> raw(m.kv_bytes_per_token / m.layers * 128);
  CHECK_OK(engine->ReadBlock(0, 0, 128, raw));
  CHECK_EQ(engine->ReadBlock(6, 0, 128, raw).code(), Code::kInvalidArgument);
  CHECK_EQ(engine->ReadBlock(0, m.layers, 128, raw).code(), Code::kInvalidArgument);
  CHECK_EQ(engine->WriteBlock(0, 0, 0, {}).code(), Code::kInvalidArgument);
  CHECK_EQ(engine->WriteBlock(0, 0, 129, raw).code(), Code::kInvalidArgument);
  CHECK_EQ(engine->WriteBlock(0, 0, 127, raw).code(), Code::kInvalidArgument);
}

TEST(greedy_sampling_draws_the_largest_logit_and_position_seeds_the_rest) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  StepItem item{.tokens = {3, 4, 5, 6}, .block_table = {0}, .sample = true, .want_logits = true};
  std::vector<StepOutput> out;
  CHECK_OK(engine->Step({&item, 1}, &out, nullptr));
  REQUIRE(out.size() == 1 && out[0].logits.size() == 4 * engine->info().vocab);
  const float* last = out[0].logits.data() + 3 * engine->info().vocab;
  CHECK_EQ(out[0].token, std::max_element(last, last + engine->info().vocab) - last);
  item.sampling = {.temperature = 5.f, .seed = 77};
  std::vector<StepOutput> first, second;
  CHECK_OK(engine->Step({&item, 1}, &first, nullptr));
  CHECK_OK(engine->Step({&item, 1}, &second, nullptr));
  CHECK_EQ(first[0].token, second[0].token);
}

TEST(options_out_of_range_and_unknown_backends_are_refused) {
  const auto code = [](auto change) {
    EngineOptions o = Tiny();
    change(o);
    return Engine::Open(o).status().code();
  };
  CHECK_EQ(code([](EngineOptions& o) { o.kv_blocks = 0; }), Code::kInvalidArgument);
  CHECK_EQ(code([](EngineOptions& o) { o.max_batch_tokens = 0; }), Code::kInvalidArgument);
  CHECK_EQ(code([](EngineOptions& o) { o.threads = 100000; }), Code::kInvalidArgument);
  CHECK_EQ(code([](EngineOptions& o) { o.backend = "abacus"; }), Code::kInvalidArgument);
  CHECK_EQ(code([](EngineOptions& o) { o.isa = "sse9"; }), Code::kUnsupported);
  CHECK_EQ(code([](EngineOptions& o) { o.model_path = "no/such/model.gguf"; }), Code::kNotFound);
  // A terabyte of KV: refused by the system, or granted by one that overcommits.
  const Code huge = code([](EngineOptions& o) { o.kv_blocks = 1u << 24; });
  CHECK(huge == Code::kOutOfMemory || huge == Code::kOk);
  CHECK_EQ(code([](EngineOptions& o) { o.kv_blocks = (1u << 24) + 1; }), Code::kInvalidArgument);
}

TEST(a_running_step_stops_within_50_ms_of_its_cancel_flag) {
  EngineOptions o{.model_path = GoldenPath("tiny/qwen3"), .threads = 2, .kv_blocks = 4 * 64, .max_batch_tokens = 64 * 500, .isa = "portable"};
  const std::unique_ptr<Engine> engine = Open(o);
  REQUIRE(engine != nullptr);
  std::vector<StepItem> items(64);
  for (uint32_t i = 0; i < 64; ++i) items[i] = {.tokens = std::vector<uint32_t>(500, i), .block_table = Blocks(4 * i, 4), .want_logits = true};
  // The best of five: a busy machine may keep any thread waiting that long.
  auto best = std::chrono::nanoseconds::max();
  for (int attempt = 0; attempt < 5 && best >= std::chrono::milliseconds(50); ++attempt) {
    std::atomic<int32_t> cancel = 0;
    std::vector<StepOutput> out;
    std::chrono::steady_clock::time_point set;
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(60));
      set = std::chrono::steady_clock::now();
      cancel = 1;
    });
    const Status s = engine->Step(items, &out, &cancel);
    const auto end = std::chrono::steady_clock::now();
    canceller.join();
    CHECK_EQ(s.code(), Code::kCancelled);
    best = std::min(best, std::chrono::duration_cast<std::chrono::nanoseconds>(end - set));
  }
  CHECK(best < std::chrono::milliseconds(50));
}

TEST(close_waits_for_the_step_and_later_calls_say_closed) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  std::thread worker([&] { CHECK_OK(Step(*engine, {{.tokens = std::vector<uint32_t>(300, 7), .block_table = {0, 1, 2}}})); });
  while (engine->stats().steps == 0) std::this_thread::yield();
  engine->Close();
  worker.join();
  engine->Close();
  CHECK_EQ(Step(*engine, {{.tokens = {1}, .block_table = {0}}}).code(), Code::kClosed);
  std::vector<uint8_t> raw(1);
  CHECK_EQ(engine->ReadBlock(0, 0, 1, raw).code(), Code::kClosed);
  CHECK_EQ(engine->WriteBlock(0, 0, 1, raw).code(), Code::kClosed);
  CHECK_EQ(engine->info().family, std::string("llama"));
}

TEST(concurrent_steps_wait_for_each_other) {
  const std::unique_ptr<Engine> engine = Open(Tiny());
  REQUIRE(engine != nullptr);
  const std::vector<uint32_t> prompt(100, 11);
  const std::vector<float> expected = Logits(*engine, prompt, 0, {0});
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5; ++i) CHECK(Logits(*engine, prompt, 0, {t}) == expected);
    });
  for (std::thread& t : threads) t.join();
  CHECK_EQ(engine->stats().steps, uint64_t{16});
}

}  // namespace
}  // namespace longshore

TEST_MAIN
