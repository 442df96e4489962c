#include "kernels/cuda/decode_attention.h"

#include <cstring>

#include "kernels/cuda/test/prompts.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

std::vector<bf16> Run(const Prompts& prompts, const bf16* q, const int32_t* lengths, const int32_t* table, int32_t sequences, int32_t max_length,
                      int32_t sliding_window = 0, bool plain = false) {
  DeviceArray<bf16> out(static_cast<size_t>(sequences) * prompts.heads * prompts.head_dim);
  DeviceArray<float> partial(DecodePartialFloats(sequences, prompts.heads, prompts.kv_heads, prompts.head_dim, max_length));
  PagedKv kv = prompts.kv;
  kv.block_table = table;
  REQUIRE_CUDA(LaunchDecodeAttention({q, out.get(), sequences, prompts.heads, prompts.kv_heads, prompts.head_dim, kv, lengths, max_length, prompts.scale,
                                      sliding_window, partial.get(), plain},
                                     nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  return out.Host();
}

// The prompts' last rows are the queries: one per sequence.
void CheckDecode(const std::vector<int32_t>& lengths, int32_t heads, int32_t kv_heads, float contrast, int32_t head_dim = 128, int32_t sliding_window = 0,
                 bool plain = false) {
  std::vector<Prompt> list;
  for (const int32_t length : lengths) list.push_back({length - 1, 1});
  const Prompts prompts(list, heads, kv_heads, contrast, std::random_device{}(), head_dim);
  const int32_t sequences = static_cast<int32_t>(lengths.size()), longest = prompts.max_blocks * kBlockTokens;
  DeviceArray<float> want(static_cast<size_t>(sequences) * heads * head_dim);
  SlowDecode(prompts.q->get(), heads, prompts.context, prompts.lengths->get(), sequences, prompts.scale, want.get(), sliding_window);
  const std::vector<bf16> together = Run(prompts, prompts.q->get(), prompts.lengths->get(), prompts.table->get(), sequences, longest, sliding_window, plain);
  const double error = RelativeError(together, want.Host());
  std::printf("  head_dim %d: relative error %.2e\n", head_dim, error);
  CHECK(error < 5e-3);

  const size_t row = static_cast<size_t>(heads) * head_dim;
  for (int32_t i = 0; i < sequences; i++) {
    const std::vector<bf16> alone = Run(prompts, prompts.q->get() + i * row, prompts.lengths->get() + i,
                                        prompts.table->get() + static_cast<size_t>(i) * prompts.max_blocks, 1, prompts.totals[i], sliding_window, plain);
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

TEST(dense_decode_equals_its_twin_at_64_and_96_channels) {
  for (const int32_t head_dim : {64, 96}) {
    CheckDecode({1, 127, 129, 1000, 12345}, 9, 3, 0, head_dim);
    CheckDecode({5000, 20000, 40000}, 8, 1, 4, head_dim);
  }
}

TEST(plain_decode_equals_its_twin_at_each_head_dim) {
  for (const int32_t head_dim : {64, 96, 128, 192, 256}) {
    CheckDecode({1, 127, 129, 1000, 12345}, 9, 3, 0, head_dim, 0, true);
    CheckDecode({5000, 300}, 8, 1, 4, head_dim, 0, true);
  }
}
TEST(decode_equals_its_twin_within_a_sliding_window) {
  for (const int32_t window : {1, 100, 512, 1024}) {
    CheckDecode({1, 511, 512, 513, 5000}, 8, 2, 1, 256, window);
    CheckDecode({30000, 700}, 4, 1, 1, 128, window);
  }
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
