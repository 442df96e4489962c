#include "kernels/cuda/decode_attention.h"

#include <cstring>

#include "kernels/cuda/test/prompts.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

std::vector<bf16> Run(const Prompts& prompts, const bf16* q, const int32_t* lengths, const int32_t* table, int32_t sequences, int32_t max_length) {
  DeviceArray<bf16> out(static_cast<size_t>(sequences) * prompts.heads * kHeadDim);
  DeviceArray<float> partial(DecodePartialFloats(sequences, prompts.heads, prompts.kv_heads, max_length));
  PagedKv kv = prompts.kv;
  kv.block_table = table;
  REQUIRE_CUDA(LaunchDecodeAttention({q, out.get(), sequences, prompts.heads, prompts.kv_heads, kv, lengths, max_length, 0.08838834764f,
                                      partial.get()},
                                     nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  return out.Host();
}

// The prompts' last rows are the queries: one per sequence.
void CheckDecode(const std::vector<int32_t>& lengths, int32_t heads, int32_t kv_heads, float contrast) {
  std::vector<Prompt> list;
  for (const int32_t length : lengths) list.push_back({length - 1, 1});
  const Prompts prompts(list, heads, kv_heads, contrast, std::random_device{}());
  const int32_t sequences = static_cast<int32_t>(lengths.size()), longest = prompts.max_blocks * kBlockTokens;
  DeviceArray<float> want(static_cast<size_t>(sequences) * heads * kHeadDim);
  SlowDecode(prompts.q->get(), heads, prompts.context, prompts.lengths->get(), sequences, 0.08838834764f, want.get());
  const std::vector<bf16> together = Run(prompts, prompts.q->get(), prompts.lengths->get(), prompts.table->get(), sequences, longest);
  const double error = RelativeError(together, want.Host());
  std::printf("  relative error %.2e\n", error);
  CHECK(error < 5e-3);

  const size_t row = static_cast<size_t>(heads) * kHeadDim;
  for (int32_t i = 0; i < sequences; i++) {
    const std::vector<bf16> alone = Run(prompts, prompts.q->get() + i * row, prompts.lengths->get() + i,
                                        prompts.table->get() + static_cast<size_t>(i) * prompts.max_blocks, 1, prompts.totals[i]);
    CHECK(std::memcmp(alone.data(), together.data() + i * row, row * sizeof(bf16)) == 0);
  }
}

TEST(dense_decode_equals_its_twin_and_does_not_depend_on_the_batch) { CheckDecode({1, 2, 127, 128, 129, 1000, 8000, 12345}, 8, 2, 0); }
TEST(dense_decode_equals_its_twin_when_a_split_holds_many_blocks) { CheckDecode({150001, 40000}, 8, 2, 0); }
TEST(dense_decode_equals_its_twin_for_each_group_size) {
  CheckDecode({3000, 200}, 32, 8, 0);
  CheckDecode({3000, 200}, 7, 1, 0);
  CheckDecode({3000, 200}, 16, 2, 0);
  CheckDecode({3000, 200}, 4, 4, 0);
}
TEST(dense_decode_equals_its_twin_on_peaked_scores) { CheckDecode({5000, 20000}, 8, 2, 4); }

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
