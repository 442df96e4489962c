// The host arithmetic of the card's steps: rows, tiles, groups, and the order of a tile. Needs no card.
#include "engine/cuda/step_plan.h"

#include "engine/cuda/tile_order.h"
#include "test/check.h"
#include "test/random_numbers.h"

namespace longshore::cuda {
namespace {

using test::Random;

StepItem Item(uint32_t position, uint32_t count, bool sample = true) {
  StepItem item;
  item.tokens.assign(count, 7);
  item.position = position;
  item.sample = sample;
  return item;
}

TEST(prefill_rows_come_first_and_keep_their_items_order) {
  const StepItem items[] = {Item(300, 1), Item(0, 5), Item(127, 1, false), Item(100, 200)};
  const StepPlan plan = PlanStep(items, UINT64_MAX, 8);
  CHECK_EQ(plan.prefill_rows, 205u);
  CHECK_EQ(plan.decodes, 2u);
  CHECK(plan.order == (std::vector<uint32_t>{1, 3, 0, 2}));
  CHECK_EQ(plan.positions[5], 100);
  CHECK_EQ(plan.positions[205], 300);
  CHECK_EQ(plan.max_blocks, 3u);
  CHECK(plan.lengths == (std::vector<int32_t>{301, 128}));
  CHECK_EQ(plan.max_length, 301u);
  REQUIRE(plan.wanted.size() == 3);
  CHECK_EQ(plan.wanted[0].row, 4u);
  CHECK_EQ(plan.wanted[1].row, 204u);
  CHECK_EQ(plan.wanted[2].row, 205u);
  CHECK_EQ(plan.wanted[2].item, 0u);
}

TEST(every_row_of_a_step_lies_in_exactly_one_tile_at_its_position) {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<StepItem> items;
    for (uint32_t i = 0; i < 1 + random.Below(12); ++i) items.push_back(Item(random.Below(2000), random.Below(3) == 0 ? 1 : 1 + random.Below(700)));
    const StepPlan plan = PlanStep(items, 500, 1 + random.Below(4));
    std::vector<int> seen(plan.rows(), 0);
    const auto mark = [&](const PrefillTile& tile) {
      for (int r = tile.first; r < tile.last; ++r) {
        const int row = tile.row + r;
        seen[row]++;
        CHECK_EQ(plan.positions[row], tile.query_block * 128 + r);
      }
    };
    uint32_t tiles = 0;
    for (const StepPlan::Group& group : plan.groups) {
      for (uint32_t t = 0; t < group.tiles; ++t) {
        const PrefillTile& tile = plan.tiles[group.first_tile + t];
        mark(tile);
        // Sparse tiles are whole blocks that end beyond token 500, and they come first.
        CHECK_EQ(t < group.sparse_tiles, tile.last - tile.first == 128 && (tile.query_block + 1) * 128 > 500);
        const StepItem& item = items[plan.order[group.first_sequence + tile.sequence]];
        CHECK(static_cast<uint32_t>(tile.query_block * 128 + tile.first) >= item.position);
      }
      tiles += group.tiles;
      CHECK(group.sparse_tiles == 0 || group.blocks > 0);
    }
    CHECK_EQ(tiles, plan.tiles.size());
    for (const PrefillTile& tile : plan.decode_tiles) mark(tile);
    for (const int count : seen) CHECK_EQ(count, 1);
  }
}

TEST(a_block_comes_back_from_tile_order_as_it_went) {
  Random random(5);
  for (const uint32_t head_dim : {64u, 96u, 128u, 256u})
    for (const uint32_t tokens : {1u, 77u, 128u}) {
      const uint32_t kv_heads = 3;
      std::vector<uint8_t> raw(size_t{2} * kv_heads * tokens * head_dim * 2), back(raw.size());
      for (uint8_t& b : raw) b = static_cast<uint8_t>(random.Next());
      std::vector<uint8_t> tiles(size_t{2} * kv_heads * TileBytes(static_cast<int>(head_dim)), 0xff);
      RawToTiles(raw.data(), tiles.data(), kv_heads, tokens, head_dim);
      TilesToRaw(tiles.data(), back.data(), kv_heads, tokens, head_dim);
      CHECK(raw == back);
      // Value plane of head 1, token 0, channel 8: the second chunk of the fifth tile.
      const size_t stored = size_t{4} * TileBytes(static_cast<int>(head_dim)) + 16, plain = (size_t{4} * tokens * head_dim + 8) * 2;
      CHECK(std::memcmp(&tiles[stored], &raw[plain], 16) == 0);
    }
}

}  // namespace
}  // namespace longshore::cuda

TEST_MAIN
