// What the probe says of a policy, against the softmax in double over what the policy reads.
#include "engine/sparse/attention_probe.h"

#include "test/engine_fixture.h"
#include "test/kernel_cases.h"
#include "test/sparse_case.h"

namespace longshore {
namespace {

using namespace test;

constexpr uint32_t kHeads = 4;
const SparseShape kShape{kHeads, 2, 64, 1024};

AttentionMeasures Probe(SparseCase& c, std::vector<AttentionPolicy> policies, const MeasureRequest& request, uint32_t first, uint32_t tokens) {
  ThreadPool threads(2);
  AttentionProbe probe;
  CHECK_OK(probe.Allocate({c.s.heads, c.s.kv_heads, c.s.head_dim, c.s.exact, c.Scale()}, std::move(policies), request, c.pool, 2, tokens, c.s.context));
  const size_t width = size_t{c.s.heads} * c.s.head_dim;
  probe.Run(threads, *kernels::SelectKernels("auto"), 0, {0, tokens, first, c.table.data()}, c.q.data() + first * width, width, nullptr);
  return probe.Take();
}

// Share of a row's softmax that lies on the first `sink` and last `window` blocks.
double MassOf(const SparseCase& c, uint32_t t, uint32_t head, uint32_t sink, uint32_t window) {
  const std::vector<double> query = c.Query(t, head, true);
  double most = -1e300, all = 0, read = 0;
  for (uint32_t key = 0; key <= t; ++key) most = std::max(most, c.Dot(query, c.Key(key, head)));
  for (uint32_t key = 0; key <= t; ++key) {
    const double p = std::exp2(c.Dot(query, c.Key(key, head)) - most);
    all += p;
    if (key / 128 < sink || t / 128 - key / 128 < window) read += p;
  }
  return read / all;
}

TEST(mass_and_density_are_those_of_the_keys_a_policy_reads) {
  Random random(5);
  SparseCase c(random, kShape);
  const HeadPolicy shape{.type = HeadPolicyType::kAShape, .sink = 128, .window = 256};
  const AttentionMeasures m = Probe(c, {Uniform(shape, kHeads)}, {.every = 3}, 0, 1024);
  CHECK_EQ(m.policies, 1u);
  for (uint32_t head = 0; head < kHeads; ++head) {
    double mass = 0;
    uint32_t low = 0;
    for (const uint32_t block : {2u, 5u})
      for (uint32_t t = block * 128; t < (block + 1) * 128; ++t) {
        const double share = MassOf(c, t, head, 1, 2);
        mass += share;
        low += share < 0.9;
      }
    const HeadMeasure& of = m.measures[head];
    CHECK_EQ(of.rows, 256.0);
    CHECK(std::abs(of.mass - mass) < 0.5);
    CHECK(std::abs(of.low - low) <= 2.0);
    CHECK_EQ(of.causal, (2 * 128 + 5 * 128) * 128.0 + 2 * 128.0 * 129 / 2);
    CHECK_EQ(of.computed, (2 * 128 + 2 * 128) * 128.0 + 2 * 128.0 * 129 / 2);
    CHECK(of.error2 > 0 && of.norm2 > 0 && of.ns > 0);
  }
}

TEST(a_policy_that_reads_everything_keeps_everything) {
  Random random(6);
  SparseCase c(random, kShape);
  const HeadPolicy window{.type = HeadPolicyType::kAShape, .sink = 0, .window = 4096};
  const AttentionPolicy dense{.min_tokens = 0, .layers = 1, .heads = kHeads, .table = {}};
  const AttentionMeasures m = Probe(c, {dense, Uniform(window, kHeads), Uniform(HeadPolicy{.type = HeadPolicyType::kAShape, .window = 128}, kHeads, 1024)}, {}, 0, 1024);
  for (const HeadMeasure& of : m.measures) {
    CHECK_EQ(of.rows, 1024.0);
    CHECK(std::abs(of.mass - 1024.0) < 0.01);
    CHECK(of.error2 <= 1e-9 * of.norm2);
    CHECK_EQ(of.computed, of.causal);
  }
}

TEST(a_map_holds_all_mass_and_what_the_first_policy_reads) {
  Random random(7);
  SparseCase c(random, kShape);
  const HeadPolicy shape{.type = HeadPolicyType::kAShape, .sink = 128, .window = 128};
  const AttentionMeasures m = Probe(c, {Uniform(shape, kHeads)}, {.every = 1, .maps = {{0, 3}}}, 512, 512);
  CHECK_EQ(m.maps.size(), size_t{4});
  for (const BlockMapRow& row : m.maps) {
    double sum = 0;
    for (uint32_t b = 0; b <= row.block; ++b) {
      sum += static_cast<double>(row.mass[b]);
      CHECK_EQ(row.read[b], b == 0 || b == row.block ? 1 : 0);
    }
    CHECK(std::abs(sum - 1.0) < 1e-2);
  }
  ThreadPool threads(1);
  AttentionProbe probe;
  CHECK_EQ(probe.Allocate({4, 2, 64, false, c.Scale()}, {}, {.maps = {{0, 4}}}, c.pool, 1, 128, 1024).code(), Code::kInvalidArgument);
}

TEST(a_measured_step_leaves_the_kv_of_a_plain_one) {
  const EngineOptions options{.model_path = GoldenPath("tiny/llama"), .threads = 2, .kv_blocks = 4, .max_batch_tokens = 256};
  const auto plain = Open(options), measured = Open(options);
  REQUIRE(plain && measured);
  std::vector<uint32_t> tokens(256);
  for (uint32_t i = 0; i < tokens.size(); ++i) tokens[i] = (i * 37 + 5) % plain->info().vocab;
  const StepItem item{.tokens = tokens, .position = 0, .block_table = Blocks(0, 2)};
  std::vector<StepOutput> out;
  CHECK_OK(plain->Step({&item, 1}, &out, nullptr));
  AttentionMeasures m;
  CHECK_OK(measured->Measure(item, {.policies = {"block_energy", R"({"format":"longshore-attention-policy","version":1,"default":{"type":"a_shape","sink":0,"window":1}})"}}, &m, nullptr));
  CHECK_EQ(m.policies, 2u);
  CHECK_EQ(m.measures.size(), size_t{2} * m.layers * m.heads);
  const ModelInfo& info = plain->info();
  std::vector<uint8_t> a(info.kv_bytes_per_token / info.layers * 128), b(a.size());
  for (uint32_t layer = 0; layer < info.layers; ++layer) {
    CHECK_OK(plain->ReadBlock(1, layer, 128, a));
    CHECK_OK(measured->ReadBlock(1, layer, 128, b));
    CHECK(a == b);
  }
  CHECK_EQ(measured->Measure(item, {.policies = {"/no/such/policy"}}, &m, nullptr).code(), Code::kNotFound);
}

}  // namespace
}  // namespace longshore

TEST_MAIN
