// Sparse prefill against the masked dense reference: softmax in double over exactly the keys that the policy chose.
#include <cstring>

#include "test/kernel_cases.h"
#include "test/sparse_case.h"

namespace longshore {
namespace {

using namespace test;

const HeadPolicy kDense{};
const HeadPolicy kAShape{.type = HeadPolicyType::kAShape, .sink = 130, .window = 200};
const HeadPolicy kLines{.type = HeadPolicyType::kVerticalSlash, .vertical = 150, .slash = 90};
const HeadPolicy kBlocks{.type = HeadPolicyType::kBlockSparse, .top_k = 3};
const HeadPolicy kEnergy{.type = HeadPolicyType::kBlockEnergy, .sink = 128, .window = 128, .alpha = 0.1f};
const HeadPolicy kSecondLook{.type = HeadPolicyType::kBlockEnergy, .sink = 0, .window = 256, .alpha = 0.02f, .tau = 0.2f};
const HeadPolicy kCorrected{.type = HeadPolicyType::kBlockEnergy, .sink = 0, .window = 128, .alpha = 0.3f, .mean_correction = true};
const HeadPolicy kAllPruned{.type = HeadPolicyType::kBlockEnergy, .sink = 0, .window = 1, .alpha = 1.f, .tau = 1.f};

std::vector<HeadPolicy> Policies() {
  std::vector<HeadPolicy> all{kDense, kAShape, kLines, kBlocks, kEnergy, kSecondLook, kCorrected, kAllPruned};
  for (HeadPolicy p : {kLines, kBlocks, kSecondLook}) {
    p.shared = true;
    all.push_back(p);
  }
#if defined(__SANITIZE_ADDRESS__)
  // Each way through the code once: estimate, blocks, both looks with and without means, nothing kept.
  all = {kLines, kBlocks, kSecondLook, kCorrected, kAllPruned};
#endif
  return all;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr uint32_t kFewer = 6;  // the sanitizers look at memory, not at numbers: a part of the rows and shapes shows them all
#else
constexpr uint32_t kFewer = 1;
#endif

struct Errors {
  double all = 0, worst_row = 0;  // relative, by norms
};

// Every `stride`-th row of the run.
Errors Compare(const SparseCase& c, const std::vector<float>& out, uint32_t first, const Recorder& record, bool corrected, bool rounded, uint32_t stride) {
  Errors errors;
  double error_sum = 0, norm_sum = 1e-30;
  for (const auto& [key, unit] : record.units) {
    const uint32_t head = std::get<1>(key);
    for (uint32_t t = unit.position; t < unit.position + unit.rows; t += stride * kFewer) {
      const std::vector<double> expected = c.Expected(t, head, unit.selection, corrected, rounded);
      double error = 0, norm = 1e-30;
      for (uint32_t i = 0; i < c.s.head_dim; ++i) {
        const double x = static_cast<double>(out[(size_t{t - first} * c.s.heads + head) * c.s.head_dim + i]);
        error += (x - expected[i]) * (x - expected[i]);
        norm += expected[i] * expected[i];
      }
      error = std::isnan(error) ? 1e30 : error;
      errors.worst_row = std::max(errors.worst_row, std::sqrt(error / norm));
      error_sum += error;
      norm_sum += norm;
    }
  }
  errors.all = std::sqrt(error_sum / norm_sum);
  return errors;
}

// Probabilities rounded to bf16 (2^-9 each, their sum not) cost one row up to twice what they cost on average, under every policy.
bool Within(const Errors& e, bool rounded) { return rounded ? e.all <= 2e-3 && e.worst_row <= 4e-3 : e.worst_row <= 1e-4; }

TEST(every_policy_equals_the_softmax_over_its_keys) {
  Random random(11);
  struct Range { SparseShape shape; uint32_t first; };
  const Range ranges[] = {
      {{4, 2, 64, 1100}, 0},                          // ragged tail
      {{4, 2, 64, 1100}, 640},                        // cached prefix
      {{6, 2, 32, 700}, 333},                         // starts inside a block
      {{2, 1, 18, 90}, 0},                            // less than one block
      {{3, 3, 64, 128}, 0},                           // one block
      {{2, 1, 128, 513, KvDtype::kF32}, 0},
      {{2, 1, 80, 640, KvDtype::kBf16, true}, 0},
  };
  for (const Range& range : ranges) {
    SparseCase c(random, range.shape);
    for (const HeadPolicy& head : Policies()) {
      const AttentionPolicy policy = Uniform(head, c.s.heads);
      for (const kernels::KernelTable* table : Tables()) {
        Recorder record;
        const uint32_t tokens = c.s.context - range.first;
        const std::vector<float> out = c.Run(*table, policy, 2, range.first, tokens, &record);
        CHECK_EQ(record.units.size(), size_t{c.s.heads} * ((c.s.context + 127) / 128 - range.first / 128));
        const bool rounded = c.s.dtype == KvDtype::kBf16 && !c.s.exact && table->attend_reads_bf16;
        const Errors e = Compare(c, out, range.first, record, head.mean_correction, rounded, 61);
        if (!Within(e, rounded))
          Fail(__FILE__, __LINE__, std::string(table->isa) + " " + std::to_string(static_cast<int>(head.type)) + " head_dim " + std::to_string(c.s.head_dim) + ": relative error " + std::to_string(e.all) + ", worst row " + std::to_string(e.worst_row));
      }
    }
  }
}

TEST(random_shapes_equal_the_reference_too) {
  Random random(12);
  const std::vector<HeadPolicy> policies = Policies();
  for (uint32_t i = 0; i < 24 / kFewer; ++i) {
    const uint32_t kv_heads = 1 + random.Below(3), group = 1 + random.Below(3);
    const SparseShape shape{kv_heads * group, kv_heads, 2 * (1 + random.Below(48)), 1 + random.Below(900), random.Below(3) ? KvDtype::kBf16 : KvDtype::kF32};
    SparseCase c(random, shape);
    // Heads of one layer with different policies.
    AttentionPolicy policy{.layers = 1, .heads = shape.heads, .table = {}};
    for (uint32_t h = 0; h < shape.heads; ++h) policy.table.push_back(policies[random.Below(static_cast<uint32_t>(policies.size()))]);
    for (HeadPolicy& p : policy.table) p.mean_correction = false;
    const uint32_t first = random.Below(shape.context);
    const kernels::KernelTable* table = Tables()[random.Below(static_cast<uint32_t>(Tables().size()))];
    Recorder record;
    const std::vector<float> out = c.Run(*table, policy, 1 + random.Below(3), first, shape.context - first, &record);
    if (shape.context - first == 1) continue;  // a single token is not the sparse path's
    const bool rounded = shape.dtype == KvDtype::kBf16 && table->attend_reads_bf16;
    CHECK(Within(Compare(c, out, first, record, false, rounded, 11), rounded));
  }
}

TEST(a_query_block_has_the_same_bits_in_any_step_that_computes_it_whole) {
  Random random(13);
  SparseCase c(random, {6, 2, 64, 1300});
  const size_t width = size_t{c.s.heads} * c.s.head_dim;
  for (const HeadPolicy& head : Policies()) {
    const AttentionPolicy policy = Uniform(head, c.s.heads);
    for (const kernels::KernelTable* table : Tables()) {
      const std::vector<float> whole = c.Run(*table, policy, 1, 0, 1280, nullptr);
      for (const uint32_t threads : {1u, 3u})
        for (const auto& [first, tokens] : {std::pair{0u, 1300u}, {512u, 384u}, {1152u, 128u}, {600u, 700u}}) {
          const std::vector<float> part = c.Run(*table, policy, threads, first, tokens, nullptr);
          const uint32_t from = (first + 127) / 128 * 128, to = std::min(1280u, (first + tokens) / 128 * 128);
          CHECK(std::memcmp(whole.data() + from * width, part.data() + (from - first) * width, (to - from) * width * 4) == 0);
        }
    }
  }
}

TEST(blocks_that_end_at_min_tokens_are_dense) {
  Random random(14);
  SparseCase c(random, {2, 1, 32, 800});
  const AttentionPolicy policy = Uniform(kEnergy, 2, 512);
  SparseAttention attention;
  CHECK_OK(attention.Allocate({2, 1, 32, false, c.Scale()}, policy, c.pool, 1, 800));
  const AttentionItem items[] = {{0, 700, 100, c.table.data()}, {700, 1, 799, c.table.data()}, {701, 5, 100, c.table.data()}};
  attention.Plan(items);
  REQUIRE(attention.dense_items().size() == 3);
  CHECK_EQ(attention.dense_items()[0].tokens, 412u);
  CHECK_EQ(attention.dense_items()[1].tokens, 1u);
  CHECK(!attention.empty());
}

}  // namespace
}  // namespace longshore

TEST_MAIN
