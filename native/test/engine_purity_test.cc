// Prefix purity under sparse policies: a block that one step computes whole has the same bytes alone, under any longer prompt, in any
// split of the prompt into steps, and after its tokens were first decoded one by one or computed in parts.
#include "test/engine_fixture.h"
#include "test/random_numbers.h"

namespace longshore {
namespace {

using namespace test;

constexpr uint32_t kBlocks = 3, kPrefix = kBlocks * kBlockTokens, kTable = 4;

std::vector<uint32_t> Prompt(Random* random, uint32_t vocab, uint32_t count) {
  std::vector<uint32_t> tokens(count);
  for (uint32_t& t : tokens) t = random->Below(vocab);
  return tokens;
}

void Compute(Engine& engine, const std::vector<uint32_t>& tokens, uint32_t from, uint32_t to, const std::vector<uint32_t>& table) {
  const StepItem item{.tokens = {tokens.begin() + from, tokens.begin() + to}, .position = from, .block_table = table};
  std::vector<StepOutput> out;
  CHECK_OK(engine.Step({&item, 1}, &out, nullptr));
}

std::vector<uint8_t> Bytes(const Engine& engine, uint32_t block) {
  const ModelInfo& m = engine.info();
  std::vector<uint8_t> all, raw(m.kv_bytes_per_token / m.layers * kBlockTokens);
  for (uint32_t layer = 0; layer < m.layers; ++layer) {
    CHECK_OK(engine.ReadBlock(block, layer, kBlockTokens, raw));
    all.insert(all.end(), raw.begin(), raw.end());
  }
  return all;
}

template <typename Fn>
void ForPolicies(const Fn& fn) {
  for (const char* policy : {"tiny-energy", "tiny-lines"})
    for (const std::string& isa : Isas()) {
      const std::unique_ptr<Engine> engine = Open({.model_path = GoldenPath("tiny/llama"), .threads = 2, .kv_blocks = 3 * kTable, .isa = isa,
                                                   .policy = GoldenPath(std::string("policies/") + policy + ".json")});
      REQUIRE(engine != nullptr);
      fn(*engine);
    }
}

TEST(the_policy_changes_what_later_blocks_hold) {
  Random random(20);
  ForPolicies([&](Engine& sparse) {
    const std::unique_ptr<Engine> dense = Open({.model_path = GoldenPath("tiny/llama"), .threads = 1, .kv_blocks = kTable, .isa = sparse.info().numerics.substr(4, sparse.info().numerics.rfind('-') - 4)});
    REQUIRE(dense != nullptr);
    const std::vector<uint32_t> tokens = Prompt(&random, sparse.info().vocab, kPrefix);
    Compute(sparse, tokens, 0, kPrefix, Blocks(0, kTable));
    Compute(*dense, tokens, 0, kPrefix, Blocks(0, kTable));
    CHECK(Bytes(sparse, 0) == Bytes(*dense, 0));
    CHECK(Bytes(sparse, 2) != Bytes(*dense, 2));
    CHECK(sparse.info().policy_json != dense->info().policy_json);
    CHECK(sparse.info().dense_tokens <= 128 && dense->info().dense_tokens == dense->info().context_length);
    const EngineStats stats = sparse.stats();
    if (stats.computed_entries == 0 || stats.computed_entries >= stats.causal_entries)
      Fail(__FILE__, __LINE__, sparse.info().policy_json + ": computed " + std::to_string(stats.computed_entries) + " of " + std::to_string(stats.causal_entries));
  });
}

TEST(blocks_are_the_same_alone_and_inside_twenty_longer_prompts) {
  Random random(21);
  ForPolicies([&](Engine& engine) {
    const uint32_t vocab = engine.info().vocab;
    std::vector<uint32_t> tokens = Prompt(&random, vocab, kPrefix);
    Compute(engine, tokens, 0, kPrefix, Blocks(0, kTable));
    std::vector<std::vector<uint8_t>> alone;
    for (uint32_t b = 0; b < kBlocks; ++b) alone.push_back(Bytes(engine, b));
    for (int i = 0; i < 20; ++i) {
      std::vector<uint32_t> longer = tokens;
      const std::vector<uint32_t> more = Prompt(&random, vocab, 1 + random.Below(kBlockTokens));
      longer.insert(longer.end(), more.begin(), more.end());
      const std::vector<uint32_t> table = Blocks(kTable, kTable);
      // Steps that end on block boundaries, one, two or all blocks long; the last with what follows, beside another sequence.
      uint32_t at = 0;
      while (at < kPrefix) {
        const uint32_t blocks = 1 + random.Below(kBlocks);
        const uint32_t to = at + blocks * kBlockTokens >= kPrefix ? static_cast<uint32_t>(longer.size()) : at + blocks * kBlockTokens;
        std::vector<StepItem> items{{.tokens = {longer.begin() + at, longer.begin() + to}, .position = at, .block_table = table}};
        if (i % 3 == 0) items.push_back({.tokens = Prompt(&random, vocab, 200), .block_table = Blocks(2 * kTable, kTable)});
        std::vector<StepOutput> out;
        CHECK_OK(engine.Step(items, &out, nullptr));
        at = to;
      }
      for (uint32_t b = 0; b < kBlocks; ++b) CHECK(Bytes(engine, kTable + b) == alone[b]);
    }
  });
}

TEST(a_block_decoded_or_computed_in_parts_is_the_same_once_it_is_computed_whole) {
  Random random(22);
  ForPolicies([&](Engine& engine) {
    const std::vector<uint32_t> tokens = Prompt(&random, engine.info().vocab, kPrefix);
    const std::vector<uint32_t> table = Blocks(0, kTable), again = Blocks(kTable, kTable);
    Compute(engine, tokens, 0, kPrefix, table);
    // The prompt ends inside the second block; the rest is decoded.
    Compute(engine, tokens, 0, 170, again);
    for (uint32_t t = 170; t < 256; ++t) Compute(engine, tokens, t, t + 1, again);
    Compute(engine, tokens, 128, 256, again);
    CHECK(Bytes(engine, kTable + 1) == Bytes(engine, 1));
    // The third in parts of odd lengths.
    for (const auto& [from, to] : {std::pair{256u, 300u}, {300u, 301u}, {301u, 384u}}) Compute(engine, tokens, from, to, again);
    Compute(engine, tokens, 256, 384, again);
    CHECK(Bytes(engine, kTable + 2) == Bytes(engine, 2));
  });
}

TEST(restored_blocks_are_indexed_anew) {
  Random random(23);
  ForPolicies([&](Engine& engine) {
    const ModelInfo& m = engine.info();
    const std::vector<uint32_t> tokens = Prompt(&random, m.vocab, kPrefix), other = Prompt(&random, m.vocab, kPrefix);
    Compute(engine, tokens, 0, kPrefix, Blocks(0, kTable));
    // Blocks of another prompt lie where the prefix is restored to.
    Compute(engine, other, 0, kPrefix, Blocks(kTable, kTable));
    std::vector<uint8_t> raw(m.kv_bytes_per_token / m.layers * kBlockTokens);
    for (uint32_t block = 0; block < 2; ++block)
      for (uint32_t layer = 0; layer < m.layers; ++layer) {
        CHECK_OK(engine.ReadBlock(block, layer, kBlockTokens, raw));
        CHECK_OK(engine.WriteBlock(kTable + block, layer, kBlockTokens, raw));
      }
    Compute(engine, tokens, 256, 384, Blocks(kTable, kTable));
    CHECK(Bytes(engine, kTable + 2) == Bytes(engine, 2));
  });
}

}  // namespace
}  // namespace longshore

TEST_MAIN
