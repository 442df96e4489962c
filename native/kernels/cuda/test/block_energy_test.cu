#include "kernels/cuda/block_energy.h"

#include <bit>

#include "kernels/cuda/test/prompts.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

constexpr float kAlpha = 0.02f;
constexpr int32_t kSink = 2, kWindow = 4;

// Blocks whose energy lies this close to the threshold may fall either way: means and products are rounded to bf16.
constexpr float kMargin = 0.03f;

void CheckChoice(const std::vector<Prompt>& list, int32_t heads, int32_t kv_heads, int32_t head_dim = 128, bool plain = false) {
  const Prompts prompts(list, heads, kv_heads, 1.2f, std::random_device{}(), head_dim);
  const int32_t words = (prompts.max_blocks + 31) / 32, tile_count = static_cast<int32_t>(prompts.tiles.size());
  DeviceArray<uint32_t> mask(static_cast<size_t>(heads) * tile_count * words);
  DeviceArray<int32_t> count(static_cast<size_t>(heads) * tile_count);
  REQUIRE_CUDA(LaunchBlockEnergy({prompts.q->get(), prompts.rows, heads, kv_heads, head_dim, prompts.block_means, prompts.device_tiles->get(), tile_count,
                                  prompts.max_blocks - 1, prompts.scale, kAlpha, kSink, kWindow, mask.get(), count.get(), words, plain},
                                 nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  DeviceArray<float> twin(static_cast<size_t>(heads) * tile_count * prompts.max_blocks);
  SlowBlockEnergy(prompts.q->get(), heads, prompts.context, prompts.device_tiles->get(), tile_count, prompts.scale, prompts.max_blocks, twin.get());

  const std::vector<uint32_t> bits = mask.Host();
  const std::vector<int32_t> counts = count.Host();
  const std::vector<float> energy = twin.Host();
  int64_t listed_blocks = 0, decided = 0, undecided = 0, wrong = 0;
  for (size_t i = 0; i < counts.size(); i++) {
    const int32_t last = prompts.tiles[i % tile_count].query_block;
    float largest = 0;
    for (int32_t b = 0; b <= last; b++) largest = std::max(largest, energy[i * prompts.max_blocks + b]);
    int32_t set = 0;
    for (int32_t b = 0; b <= last; b++) {
      const bool listed = bits[i * words + b / 32] >> (b % 32) & 1;
      const float ratio = energy[i * prompts.max_blocks + b] / (kAlpha * largest);
      const bool always = b < kSink || last - b < kWindow;
      set += listed;
      if (!always && std::abs(ratio - 1) < kMargin) {
        undecided++;
        continue;
      }
      decided++;
      wrong += listed != (always || ratio >= 1);
    }
    // Bits past the tile's own block stay clear, or the attention kernel would read keys of the future.
    if ((last + 1) % 32 != 0) CHECK_EQ(bits[i * words + last / 32] >> ((last + 1) % 32), 0u);
    CHECK_EQ(counts[i], set);
    listed_blocks += set;
  }
  std::printf("  listed %lld of %lld, %lld too close to call\n", static_cast<long long>(listed_blocks), static_cast<long long>(decided + undecided),
              static_cast<long long>(undecided));
  CHECK_EQ(wrong, 0);
  CHECK(undecided * 50 < decided);
  CHECK(listed_blocks < decided);
}

TEST(block_energy_lists_the_blocks_its_twin_does) { CheckChoice({{0, 8192}}, 8, 2); }
TEST(block_energy_lists_the_blocks_its_twin_does_over_several_tiles_of_means) { CheckChoice({{36000, 700}}, 8, 2); }
TEST(block_energy_does_not_count_rows_of_no_query) { CheckChoice({{3000, 5}, {0, 2500}, {1285, 1}, {4000, 130}}, 8, 4); }

TEST(block_energy_lists_the_blocks_its_twin_does_at_64_and_96_channels) {
  for (const int32_t head_dim : {64, 96}) {
    CheckChoice({{0, 8192}}, 9, 3, head_dim);
    CheckChoice({{17000, 300}, {3000, 5}, {1285, 1}}, 8, 4, head_dim);
  }
}

TEST(plain_block_energy_lists_the_blocks_its_twin_does) {
  for (const int32_t head_dim : {64, 128, 256}) {
    CheckChoice({{0, 8192}}, 9, 3, head_dim, true);
    CheckChoice({{17000, 300}, {3000, 5}, {1285, 1}}, 8, 4, head_dim, true);
  }
}

TEST(block_energy_refuses_a_mask_without_room) {
  BlockEnergy params = {};
  params.rows = params.heads = params.kv_heads = params.window = 1;
  params.head_dim = 128;
  params.max_query_block = 32;
  params.mask_words = 1;
  params.means.tiles = 1;
  CHECK_EQ(LaunchBlockEnergy(params, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
