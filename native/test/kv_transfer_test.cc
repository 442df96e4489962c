// Moves blocks of a real engine on a small random model.
#include "engine/kv/transfer.h"

#include <cmath>
#include <cstring>

#include "test/check.h"
#include "test/golden_files.h"

namespace longshore {
namespace {

constexpr uint32_t kPool = 8;

std::unique_ptr<Engine> OpenTiny(KvDtype dtype) {
  auto engine = Engine::Open({.model_path = test::GoldenPath("tiny/llama"), .threads = 2, .kv_blocks = kPool, .kv_dtype = dtype});
  CHECK_OK(engine);
  return engine.ok() ? std::move(engine.value()) : nullptr;
}

// Fills blocks 0 and 1 with the KV of `tokens` (129 to 256) pseudo-random tokens.
std::vector<uint32_t> Prefill(Engine& engine, uint32_t tokens) {
  StepItem item;
  for (uint32_t i = 0; i < tokens; i++) item.tokens.push_back((i * 2654435761u >> 8) % engine.info().vocab);
  item.block_table = {0, 1};
  std::vector<StepOutput> outputs;
  CHECK_OK(engine.Step({&item, 1}, &outputs, nullptr));
  return item.tokens;
}

std::vector<float> NextLogits(Engine& engine, uint32_t token, uint32_t position, std::vector<uint32_t> table) {
  StepItem item;
  item.tokens = {token};
  item.position = position;
  item.block_table = std::move(table);
  item.want_logits = true;
  std::vector<StepOutput> outputs;
  CHECK_OK(engine.Step({&item, 1}, &outputs, nullptr));
  return outputs.empty() ? std::vector<float>() : outputs[0].logits;
}

std::vector<uint8_t> Raw(const Engine& engine, KvDtype dtype, uint32_t block, uint32_t layer, uint32_t tokens) {
  std::vector<uint8_t> raw(ShapeOf(engine.info(), dtype).RawBytes(tokens));
  CHECK_OK(engine.ReadBlock(block, layer, tokens, raw));
  return raw;
}

TEST(a_restored_prefix_continues_with_bit_equal_logits) {
  for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32}) {
    const auto engine = OpenTiny(dtype);
    REQUIRE(engine);
    if (engine->info().context_length < 160) test::Fail(__FILE__, __LINE__, "the tiny model's context is too short");
    const KvShape shape = ShapeOf(engine->info(), dtype);
    Prefill(*engine, 150);
    const KvRange from{.blocks = {0, 1}, .codec = KvCodec::kRaw, .first_token = 0, .last_tokens = 22};
    const KvRange to{.blocks = {5, 3}, .codec = KvCodec::kRaw, .first_token = 0, .last_tokens = 22};
    const auto sections = ExportBlocks(*engine, from, shape, 3);
    CHECK_OK(sections);
    REQUIRE(sections.ok());
    CHECK_OK(ImportBlocks(engine.get(), to, shape, sections.value(), 3));
    CHECK(NextLogits(*engine, 7, 150, {0, 1}) == NextLogits(*engine, 7, 150, {5, 3}));
  }
}

TEST(int8_keeps_the_first_block_exact_and_the_rest_near) {
  const auto engine = OpenTiny(KvDtype::kBf16);
  REQUIRE(engine);
  const KvShape shape = ShapeOf(engine->info(), KvDtype::kBf16);
  Prefill(*engine, 200);
  const KvRange from{.blocks = {0, 1}, .codec = KvCodec::kInt8, .first_token = 0, .last_tokens = 72};
  const KvRange to{.blocks = {6, 7}, .codec = KvCodec::kInt8, .first_token = 0, .last_tokens = 72};
  const auto sections = ExportBlocks(*engine, from, shape, 2);
  REQUIRE(sections.ok());
  CHECK_EQ(sections.value()[0].size, MostSectionBytes(from, shape));
  CHECK_OK(ImportBlocks(engine.get(), to, shape, sections.value(), 2));
  for (uint32_t layer = 0; layer < engine->info().layers; layer++) {
    CHECK(Raw(*engine, KvDtype::kBf16, 0, layer, 128) == Raw(*engine, KvDtype::kBf16, 6, layer, 128));
    CHECK(Raw(*engine, KvDtype::kBf16, 1, layer, 72) != Raw(*engine, KvDtype::kBf16, 7, layer, 72));
  }
  const auto exact = NextLogits(*engine, 9, 200, {0, 1}), near = NextLogits(*engine, 9, 200, {6, 7});
  REQUIRE(exact.size() == near.size());
  double error = 0, power = 0;
  for (size_t i = 0; i < exact.size(); i++) {
    error += (exact[i] - near[i]) * (exact[i] - near[i]);
    power += exact[i] * exact[i];
  }
  CHECK(error > 0);
  CHECK(std::sqrt(error / power) < 0.02);
}

TEST(any_number_of_threads_writes_the_same_bytes) {
  const auto engine = OpenTiny(KvDtype::kBf16);
  REQUIRE(engine);
  const KvShape shape = ShapeOf(engine->info(), KvDtype::kBf16);
  Prefill(*engine, 256);
  const KvRange range{.blocks = {0, 1}, .codec = KvCodec::kInt8, .first_token = 256};
  const auto one = ExportBlocks(*engine, range, shape, 1), many = ExportBlocks(*engine, range, shape, 7);
  REQUIRE(one.ok() && many.ok());
  for (size_t layer = 0; layer < one.value().size(); layer++) {
    const Section &a = one.value()[layer], &b = many.value()[layer];
    CHECK(a.size == b.size && std::memcmp(a.data.get(), b.data.get(), a.size) == 0);
  }
}

TEST(a_section_that_does_not_fit_is_refused_before_anything_is_written) {
  const auto engine = OpenTiny(KvDtype::kBf16);
  REQUIRE(engine);
  const KvShape shape = ShapeOf(engine->info(), KvDtype::kBf16);
  Prefill(*engine, 256);
  const KvRange range{.blocks = {0}, .codec = KvCodec::kRaw, .first_token = 0};
  auto sections = ExportBlocks(*engine, range, shape, 2);
  REQUIRE(sections.ok());
  const KvRange target{.blocks = {4}, .codec = KvCodec::kRaw, .first_token = 0};
  const auto before = Raw(*engine, KvDtype::kBf16, 4, 0, 128);
  sections.value().back().size--;
  CHECK(ImportBlocks(engine.get(), target, shape, sections.value(), 2).code() == Code::kCorrupt);
  sections.value().pop_back();
  CHECK(ImportBlocks(engine.get(), target, shape, sections.value(), 2).code() == Code::kCorrupt);
  CHECK(Raw(*engine, KvDtype::kBf16, 4, 0, 128) == before);
}

TEST(ranges_out_of_bounds_are_refused) {
  const auto code = [](KvRange range) { return CheckRange(range, kPool).code(); };
  CHECK(code({.blocks = {0, 7}}) == Code::kOk);
  CHECK(code({.blocks = {}}) == Code::kInvalidArgument);
  CHECK(code({.blocks = {8}}) == Code::kInvalidArgument);
  CHECK(code({.blocks = {1, 2, 1}}) == Code::kInvalidArgument);
  CHECK(code({.blocks = {1}, .first_token = 5}) == Code::kInvalidArgument);
  CHECK(code({.blocks = {1}, .last_tokens = 0}) == Code::kInvalidArgument);
  CHECK(code({.blocks = {1}, .last_tokens = 129}) == Code::kInvalidArgument);
  CHECK(code({.blocks = std::vector<uint32_t>(4097)}) == Code::kInvalidArgument);
}

TEST(a_closed_engine_moves_nothing) {
  const auto engine = OpenTiny(KvDtype::kBf16);
  REQUIRE(engine);
  const KvShape shape = ShapeOf(engine->info(), KvDtype::kBf16);
  engine->Close();
  engine->Close();
  CHECK(ExportBlocks(*engine, {.blocks = {0}}, shape, 2).status().code() == Code::kClosed);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
