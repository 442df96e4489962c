#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/test/prompts.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

// bf16 outputs and bf16 weights: each rounds by at most 2^-9 of its value.
constexpr double kTolerance = 5e-3;

std::vector<bf16> Run(const Prompts& prompts, const uint32_t* mask, const int32_t* mask_count, int32_t mask_words,
                      int32_t sliding_window = 0, bool plain = false) {
  DeviceArray<bf16> out(static_cast<size_t>(prompts.rows) * prompts.heads * prompts.head_dim);
  DeviceArray<int32_t> schedule(2);
  schedule.Zero();
  PrefillAttention params = {prompts.q->get(), out.get(), prompts.rows, prompts.heads, prompts.kv_heads, prompts.head_dim, prompts.kv,
                             prompts.device_tiles->get(), static_cast<int32_t>(prompts.tiles.size()), 1, prompts.scale, sliding_window, mask, mask_count,
                             mask_words, 0, 0, 1, nullptr, nullptr, schedule.get(), plain};
  REQUIRE_CUDA(LaunchPrefillAttention(params, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  CHECK_EQ(schedule.Host()[0], 0);
  CHECK_EQ(schedule.Host()[1], 0);
  return out.Host();
}

// The fast kernel of this card, or with `plain` the one for every card.
void CheckDense(const std::vector<Prompt>& list, int32_t heads, int32_t kv_heads, float contrast, int32_t head_dim = 128, int32_t sliding_window = 0,
                bool plain = false) {
  const Prompts prompts(list, heads, kv_heads, contrast, std::random_device{}(), head_dim);
  DeviceArray<float> want(static_cast<size_t>(prompts.rows) * heads * head_dim);
  SlowPrefill(prompts.q->get(), heads, prompts.context, prompts.device_tiles->get(), static_cast<int32_t>(prompts.tiles.size()), prompts.scale,
              nullptr, 0, want.get(), sliding_window);
  const double error = RelativeError(Run(prompts, nullptr, nullptr, 0, sliding_window, plain), want.Host());
  std::printf("  head_dim %d: relative error %.2e\n", head_dim, error);
  CHECK(error < kTolerance);
}

TEST(dense_prefill_equals_its_twin_on_whole_blocks) { CheckDense({{0, 1024}}, 4, 4, 0); }
TEST(dense_prefill_equals_its_twin_with_grouped_heads) { CheckDense({{0, 2048}}, 32, 8, 0); }
TEST(dense_prefill_equals_its_twin_with_seven_heads_to_a_group) { CheckDense({{0, 640}}, 14, 2, 0); }
TEST(dense_prefill_equals_its_twin_on_ragged_batches) { CheckDense({{0, 1}, {0, 127}, {0, 129}, {0, 1000}, {0, 300}}, 8, 2, 0); }
TEST(dense_prefill_equals_its_twin_after_a_cached_prefix) { CheckDense({{128, 500}, {1000, 77}, {5, 3}, {2047, 1}, {640, 640}}, 8, 2, 0); }
TEST(dense_prefill_equals_its_twin_at_64_and_96_channels) {
  for (const int32_t head_dim : {64, 96}) {
    CheckDense({{0, 1024}}, 4, 4, 0, head_dim);
    CheckDense({{0, 1}, {0, 129}, {128, 500}, {1000, 77}, {2047, 1}}, 9, 3, 0, head_dim);
    CheckDense({{0, 1500}, {300, 700}}, 8, 2, 4, head_dim);
  }
}
TEST(plain_prefill_equals_its_twin_at_each_head_dim) {
  for (const int32_t head_dim : {64, 96, 128, 192, 256}) {
    CheckDense({{0, 1}, {0, 129}, {128, 500}, {1000, 77}, {2047, 1}}, 9, 3, 0, head_dim, 0, true);
    CheckDense({{0, 1500}, {300, 700}}, 8, 2, 4, head_dim, 0, true);
  }
}
TEST(prefill_equals_its_twin_within_a_sliding_window) {
  for (const int32_t window : {1, 100, 128, 1000}) {
    CheckDense({{0, 1}, {0, 700}, {1000, 77}, {2047, 200}}, 8, 2, 1, 256, window);
    CheckDense({{0, 700}, {1500, 300}}, 4, 1, 1, 128, window);
  }
}
// Scores in the hundreds: the running maximum must move, and far weights must underflow to zero without harm.
TEST(dense_prefill_equals_its_twin_on_peaked_scores) { CheckDense({{0, 1500}, {300, 700}}, 8, 2, 4); }

// Row r of the packed queries keeps its index, so that two runs over the same queries can be compared row by row.
TEST(dense_prefill_gives_the_same_bits_however_the_prompt_is_split) {
  const Prompts prompts({{0, 1100}}, 8, 2, 1, std::random_device{}());
  const std::vector<bf16> whole = Run(prompts, nullptr, nullptr, 0);
  DeviceArray<bf16> out(whole.size());
  DeviceArray<int32_t> schedule(2);
  schedule.Zero();
  for (const PrefillChunk& chunk : {PrefillChunk{0, 0, 300}, PrefillChunk{300, 300, 84}, PrefillChunk{384, 384, 716}}) {
    const std::vector<PrefillTile> tiles = PlanPrefillTiles({&chunk, 1});
    const DeviceArray<PrefillTile> device_tiles(tiles);
    PrefillAttention params = {prompts.q->get(), out.get(), prompts.rows, 8, 2, prompts.head_dim, prompts.kv, device_tiles.get(),
                               static_cast<int32_t>(tiles.size()), 2, prompts.scale, 0, nullptr, nullptr, 0, 0, 0, 1, nullptr, nullptr, schedule.get()};
    REQUIRE_CUDA(LaunchPrefillAttention(params, nullptr));
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }
  const std::vector<bf16> split = out.Host();
  CHECK(std::memcmp(whole.data(), split.data(), whole.size() * sizeof(bf16)) == 0);
}

void CheckListed(int32_t head_dim, bool plain) {
  std::mt19937 random(std::random_device{}());
  for (const int32_t density_percent : {0, 20, 100}) {
    const Prompts prompts({{0, 5000}, {4200, 300}, {0, 77}}, 8, 2, 0, random(), head_dim);
    const int32_t words = (prompts.max_blocks + 31) / 32, tile_count = static_cast<int32_t>(prompts.tiles.size());
    std::vector<uint32_t> mask(static_cast<size_t>(8) * tile_count * words, 0);
    std::vector<int32_t> count(static_cast<size_t>(8) * tile_count, 0);
    for (size_t i = 0; i < count.size(); i++) {
      const int32_t last = prompts.tiles[i % tile_count].query_block;
      for (int32_t b = 0; b <= last; b++)
        if (b == last || static_cast<int32_t>(random() % 100) < density_percent) {
          mask[i * words + b / 32] |= 1u << (b % 32);
          count[i]++;
        }
    }
    const DeviceArray<uint32_t> device_mask(mask);
    const DeviceArray<int32_t> device_count(count);
    DeviceArray<float> want(static_cast<size_t>(prompts.rows) * 8 * head_dim);
    SlowPrefill(prompts.q->get(), 8, prompts.context, prompts.device_tiles->get(), tile_count, prompts.scale, device_mask.get(), words, want.get());
    const double error = RelativeError(Run(prompts, device_mask.get(), device_count.get(), words, 0, plain), want.Host());
    std::printf("  head_dim %d, density %d %%: relative error %.2e\n", head_dim, density_percent, error);
    CHECK(error < kTolerance);
  }
}

TEST(listed_prefill_equals_a_masked_twin) { CheckListed(128, false); }
TEST(listed_prefill_equals_a_masked_twin_at_64_channels) { CheckListed(64, false); }
TEST(plain_listed_prefill_equals_a_masked_twin) {
  CheckListed(128, true);
  CheckListed(256, true);
}

// The kernel says which blocks each half tile read. Its output must equal the twin's over exactly these blocks; every block that gives tau
// of some row's final mass must be among them; and each of them must be sink, window, or give some row tau of the mass met so far.
void CheckSecondLook(int32_t head_dim) {
  constexpr float kTau = 0.2f, kEdge = 0.03f;
  constexpr int32_t kHeads = 4, kSink = 2, kWindow = 4;
  std::mt19937 random(std::random_device{}());
  const Prompts prompts({{0, 3000}, {4200, 300}, {0, 77}, {2000, 1}}, kHeads, 2, 1.2f, random(), head_dim);
  const int32_t words = (prompts.max_blocks + 31) / 32, tile_count = static_cast<int32_t>(prompts.tiles.size());
  const size_t items = static_cast<size_t>(kHeads) * tile_count;
  std::vector<uint32_t> mask(items * words, 0);
  std::vector<int32_t> count(items, 0);
  for (size_t i = 0; i < items; i++) {
    const int32_t last = prompts.tiles[i % tile_count].query_block;
    for (int32_t b = 0; b <= last; b++)
      if (b < kSink || last - b < kWindow || random() % 2) {
        mask[i * words + b / 32] |= 1u << (b % 32);
        count[i]++;
      }
  }
  const DeviceArray<uint32_t> device_mask(mask);
  const DeviceArray<int32_t> device_count(count);
  DeviceArray<uint32_t> read_mask(2 * items * words);
  DeviceArray<int32_t> read_count(2 * items), schedule(2);
  read_mask.Zero();
  schedule.Zero();
  DeviceArray<bf16> out(static_cast<size_t>(prompts.rows) * kHeads * head_dim);
  REQUIRE_CUDA(LaunchPrefillAttention({prompts.q->get(), out.get(), prompts.rows, kHeads, 2, head_dim, prompts.kv, prompts.device_tiles->get(), tile_count, 1,
                                       prompts.scale, 0, device_mask.get(), device_count.get(), words, kTau, kSink, kWindow, read_mask.get(), read_count.get(),
                                       schedule.get()},
                                      nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  DeviceArray<float> device_mass(items * kBlockTokens * prompts.max_blocks);
  SlowBlockMass(prompts.q->get(), kHeads, prompts.context, prompts.device_tiles->get(), tile_count, prompts.scale, device_mask.get(), words,
                prompts.max_blocks, device_mass.get());
  const std::vector<float> mass = device_mass.Host();
  const std::vector<uint32_t> reads = read_mask.Host();
  const std::vector<int32_t> read_counts = read_count.Host();

  int64_t listed = 0, read_total = 0, missing = 0, needless = 0;
  std::vector<uint32_t> half_mask[2] = {std::vector<uint32_t>(items * words), std::vector<uint32_t>(items * words)};
  for (size_t i = 0; i < items; i++) {
    const PrefillTile& tile = prompts.tiles[i % tile_count];
    for (int32_t half = 0; half < 2; half++) {
      const uint32_t* mine = &reads[(2 * i + half) * words];
      const auto is_read = [&](int32_t b) { return (mine[b / 32] >> (b % 32) & 1) != 0; };
      const auto at = [&](int32_t row, int32_t b) { return mass[(i * kBlockTokens + row) * prompts.max_blocks + b]; };
      std::vector<float> total(64, 0), met(64, 0);
      std::vector<int32_t> order = {tile.query_block};
      for (int32_t b = 0; b < tile.query_block; b++)
        if (mask[i * words + b / 32] >> (b % 32) & 1) order.push_back(b);
      for (int32_t row = 0; row < 64; row++)
        for (const int32_t b : order) total[row] += at(64 * half + row, b);
      int32_t set = 0;
      for (const int32_t b : order) {
        const bool always = b < kSink || tile.query_block - b < kWindow;
        bool must = always, may = always;
        for (int32_t row = std::max(0, tile.first - 64 * half); row < std::min(64, tile.last - 64 * half); row++) {
          const float m = at(64 * half + row, b);
          must |= m >= (kTau + kEdge) * total[row];
          may |= m >= (kTau - kEdge) * (met[row] + m);
        }
        if (is_read(b)) {
          set++;
          needless += !may;
          half_mask[half][i * words + b / 32] |= 1u << (b % 32);
          for (int32_t row = 0; row < 64; row++) met[row] += at(64 * half + row, b);
        } else {
          missing += must;
        }
      }
      CHECK_EQ(read_counts[2 * i + half], set);
      int32_t bits = 0;
      for (int32_t w = 0; w < words; w++) bits += std::popcount(mine[w]);
      CHECK_EQ(bits, set);  // nothing read that was not listed
      listed += static_cast<int64_t>(order.size());
      read_total += set;
    }
  }
  std::printf("  read %lld of %lld listed\n", static_cast<long long>(read_total), static_cast<long long>(listed));
  CHECK_EQ(missing, 0);
  CHECK_EQ(needless, 0);
  CHECK(read_total < listed);

  const std::vector<bf16> got = out.Host();
  std::vector<float> want;
  for (int32_t half = 0; half < 2; half++) {
    const DeviceArray<uint32_t> device_half(half_mask[half]);
    DeviceArray<float> twin(got.size());
    SlowPrefill(prompts.q->get(), kHeads, prompts.context, prompts.device_tiles->get(), tile_count, prompts.scale, device_half.get(), words, twin.get());
    const std::vector<float> host = twin.Host();
    if (want.empty()) want = host;
    for (const PrefillTile& tile : prompts.tiles)
      for (int32_t row = std::max<int32_t>(tile.first, 64 * half); row < std::min<int32_t>(tile.last, 64 * (half + 1)); row++) {
        const size_t begin = static_cast<size_t>(tile.row + row) * kHeads * head_dim;
        std::copy_n(host.begin() + begin, kHeads * head_dim, want.begin() + begin);
      }
  }
  const double error = RelativeError(got, want);
  std::printf("  relative error %.2e\n", error);
  CHECK(error < kTolerance);
}

TEST(second_look_reads_what_it_must_and_nothing_it_need_not) { CheckSecondLook(128); }
TEST(second_look_reads_what_it_must_and_nothing_it_need_not_at_64_channels) { CheckSecondLook(64); }

TEST(prefill_refuses_shapes_it_does_not_serve) {
  PrefillAttention params = {};
  params.rows = 1;
  params.heads = 6;
  params.kv_heads = 4;
  params.section_kv_heads = 1;
  params.head_dim = 128;
  CHECK_EQ(LaunchPrefillAttention(params, nullptr), cudaErrorInvalidValue);
  params.kv_heads = 6;
  params.head_dim = 260;
  CHECK_EQ(LaunchPrefillAttention(params, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
