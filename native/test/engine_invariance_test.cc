// Batch invariance: a sequence's logits have the same bits alone, in a batch, in any chunk split, with 1 or N threads, and
// over restored blocks.
#include "test/engine_fixture.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using namespace test;

constexpr const char* kModels[] = {"tiny/llama-quantized.gguf", "tiny/llama", "tiny/qwen3", "tiny/gemma3"};
constexpr uint32_t kTokens = 300, kTable = 4;

std::vector<uint32_t> Prompt(uint64_t seed, uint32_t vocab, uint32_t count = kTokens) {
  Random random(seed);
  std::vector<uint32_t> tokens(count);
  for (uint32_t& t : tokens) t = random.Below(vocab);
  return tokens;
}

// All configurations that must agree among themselves.
template <typename Fn>
void ForModels(const Fn& fn) {
  for (const char* model : kModels)
    for (const std::string& isa : Isas())
      for (const KvDtype dtype : {KvDtype::kBf16, KvDtype::kF32})
        fn(EngineOptions{.model_path = GoldenPath(model), .threads = 1, .kv_blocks = 5 * kTable, .kv_dtype = dtype, .isa = isa});
}

std::vector<float> InChunks(Engine& engine, const std::vector<uint32_t>& prompt, const std::vector<uint32_t>& chunks, const std::vector<uint32_t>& table) {
  std::vector<float> logits;
  uint32_t position = 0;
  for (size_t i = 0; position < prompt.size(); ++i) {
    const uint32_t n = std::min<uint32_t>(chunks[i % chunks.size()], static_cast<uint32_t>(prompt.size()) - position);
    const std::vector<float> part = Logits(engine, {prompt.begin() + position, prompt.begin() + position + n}, position, table);
    logits.insert(logits.end(), part.begin(), part.end());
    position += n;
  }
  return logits;
}

TEST(any_chunk_split_gives_the_same_bits) {
  ForModels([](const EngineOptions& o) {
    const std::unique_ptr<Engine> engine = Open(o);
    REQUIRE(engine != nullptr);
    const std::vector<uint32_t> prompt = Prompt(1, engine->info().vocab);
    const std::vector<float> whole = InChunks(*engine, prompt, {kTokens}, Blocks(0, kTable));
    for (const std::vector<uint32_t>& chunks : {std::vector<uint32_t>{128}, {1}, {7, 64, 1, 129}, {255, 2}})
      CHECK(InChunks(*engine, prompt, chunks, Blocks(kTable, kTable)) == whole);
  });
}

TEST(any_number_of_threads_gives_the_same_bits) {
  ForModels([](EngineOptions o) {
    const std::unique_ptr<Engine> one = Open(o);
    o.threads = 4;
    const std::unique_ptr<Engine> four = Open(o);
    REQUIRE(one != nullptr && four != nullptr);
    const std::vector<uint32_t> prompt = Prompt(2, one->info().vocab);
    CHECK(InChunks(*one, prompt, {200, 1, 1}, Blocks(0, kTable)) == InChunks(*four, prompt, {200, 1, 1}, Blocks(0, kTable)));
  });
}

TEST(a_sequence_has_the_same_bits_alone_and_among_others) {
  ForModels([](const EngineOptions& o) {
    const std::unique_ptr<Engine> engine = Open(o);
    REQUIRE(engine != nullptr);
    const uint32_t vocab = engine->info().vocab;
    const std::vector<uint32_t> prompt = Prompt(3, vocab);
    const std::vector<float> alone = Logits(*engine, prompt, 0, Blocks(0, kTable));
    // Neighbours: a decode step in the middle of another sequence, a short prompt before, a longer one after.
    const std::vector<uint32_t> other = Prompt(4, vocab);
    Logits(*engine, {other.begin(), other.begin() + 150}, 0, Blocks(kTable, kTable));
    std::vector<StepItem> items(4);
    items[0] = {.tokens = {other[150]}, .position = 150, .block_table = Blocks(kTable, kTable), .sample = true};
    items[1] = {.tokens = {other.begin(), other.begin() + 5}, .block_table = Blocks(2 * kTable, kTable)};
    items[2] = {.tokens = prompt, .block_table = Blocks(3 * kTable, kTable), .want_logits = true};
    items[3] = {.tokens = {other.begin(), other.begin() + 290}, .block_table = Blocks(4 * kTable, kTable)};
    std::vector<StepOutput> out;
    CHECK_OK(engine->Step(items, &out, nullptr));
    REQUIRE(out.size() == 4);
    CHECK(out[2].logits == alone);
    CHECK(out[0].token >= 0 && out[1].token == -1);
  });
}

TEST(blocks_copied_through_their_raw_form_give_the_same_bits) {
  ForModels([](const EngineOptions& o) {
    const std::unique_ptr<Engine> from = Open(o), to = Open(o);
    REQUIRE(from != nullptr && to != nullptr);
    const ModelInfo& m = from->info();
    const std::vector<uint32_t> prompt = Prompt(5, m.vocab);
    const std::vector<float> whole = Logits(*from, prompt, 0, Blocks(0, kTable));
    for (uint32_t block = 0; block < 2; ++block)
      for (uint32_t layer = 0; layer < m.layers; ++layer) {
        const uint32_t tokens = block == 0 ? 128 : 100;  // a full block and a partial one
        std::vector<uint8_t> raw(m.kv_bytes_per_token / m.layers * tokens);
        CHECK_OK(from->ReadBlock(block, layer, tokens, raw));
        CHECK_OK(to->WriteBlock(7 - block, layer, tokens, raw));
      }
    const std::vector<float> rest = Logits(*to, {prompt.begin() + 228, prompt.end()}, 228, {7, 6, 1});
    CHECK(std::equal(rest.begin(), rest.end(), whole.begin() + 228 * m.vocab, whole.end()));
  });
}

TEST(a_step_submitted_again_gives_the_same_bits) {
  ForModels([](const EngineOptions& o) {
    const std::unique_ptr<Engine> engine = Open(o);
    REQUIRE(engine != nullptr);
    const std::vector<uint32_t> prompt = Prompt(6, engine->info().vocab);
    const std::vector<float> first = Logits(*engine, prompt, 0, Blocks(0, kTable));
    const StepItem item{.tokens = prompt, .block_table = Blocks(0, kTable)};
    std::vector<StepOutput> out;
    const std::atomic<int32_t> cancel = 1;
    CHECK_EQ(engine->Step({&item, 1}, &out, &cancel).code(), Code::kCancelled);
    CHECK(Logits(*engine, prompt, 0, Blocks(0, kTable)) == first);
    CHECK_EQ(engine->stats().aborted_steps, uint64_t{1});
  });
}

}  // namespace
}  // namespace longshore

TEST_MAIN
