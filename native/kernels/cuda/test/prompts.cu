#include "kernels/cuda/test/prompts.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longshore::cuda::test {

Prompts::Prompts(const std::vector<Prompt>& prompts, int32_t heads_in, int32_t kv_heads_in, float contrast, uint32_t seed, int32_t head_dim_in)
    : heads(heads_in), kv_heads(kv_heads_in), head_dim(head_dim_in), scale(1 / std::sqrt(static_cast<float>(head_dim_in))) {
  const int32_t tile_elements = TileElements(head_dim);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  int32_t context_tokens = 0, pool_blocks = 3;  // a few that nobody maps stay NaN
  std::vector<PrefillChunk> prefixes, chunks, chunk_queries;
  for (const Prompt& prompt : prompts) {
    const int32_t total = prompt.start + prompt.length;
    context_rows.push_back(context_tokens);
    totals.push_back(total);
    prefixes.push_back({context_tokens, 0, prompt.start});
    chunks.push_back({context_tokens + prompt.start, prompt.start, prompt.length});
    chunk_queries.push_back({rows, prompt.start, prompt.length});
    const int32_t blocks = (total + kBlockTokens - 1) / kBlockTokens;
    max_blocks = std::max(max_blocks, blocks);
    pool_blocks += blocks;
    context_tokens += total;
    rows += prompt.length;
  }

  std::vector<int32_t> order(pool_blocks);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  std::vector<int32_t> host_table(prompts.size() * max_blocks, 0);
  int32_t next = 0;
  for (size_t i = 0; i < prompts.size(); i++)
    for (int32_t b = 0; b * kBlockTokens < totals[i]; b++) host_table[i * max_blocks + b] = order[next++];
  table = std::make_unique<DeviceArray<int32_t>>(host_table);
  context_row = std::make_unique<DeviceArray<int32_t>>(context_rows);
  lengths = std::make_unique<DeviceArray<int32_t>>(totals);

  // Row r of a head: noise + contrast * a direction drawn for r's block.
  const auto draw = [&](const std::vector<PrefillChunk>& parts, int32_t part_heads, int32_t row_count) {
    std::vector<bf16> host(static_cast<size_t>(row_count) * part_heads * head_dim);
    std::vector<float> direction(head_dim);
    for (const PrefillChunk& part : parts)
      for (int32_t head = 0; head < part_heads; head++)
        for (int32_t i = 0; i < part.length; i++) {
          if (i == 0 || (part.start + i) % kBlockTokens == 0)
            for (float& x : direction) x = contrast * normal(random);
          for (int32_t c = 0; c < head_dim; c++)
            host[(static_cast<size_t>(part.row + i) * part_heads + head) * head_dim + c] = __float2bfloat16(normal(random) + direction[c]);
        }
    return std::make_unique<DeviceArray<bf16>>(host);
  };
  std::vector<PrefillChunk> whole;
  for (size_t i = 0; i < prompts.size(); i++) whole.push_back({context_rows[i], 0, totals[i]});
  q = draw(chunk_queries, heads, rows);
  k = draw(whole, kv_heads, context_tokens);
  v = draw(whole, kv_heads, context_tokens);

  pool = std::make_unique<DeviceArray<bf16>>(static_cast<size_t>(pool_blocks) * kv_heads * 2 * tile_elements);
  kv = {pool->get(), pool->get() + tile_elements, static_cast<int64_t>(kv_heads) * 2 * tile_elements, 2 * tile_elements, table->get(), max_blocks};
  block_means.tiles = (max_blocks + kBlockTokens - 1) / kBlockTokens;
  means = std::make_unique<DeviceArray<bf16>>(prompts.size() * kv_heads * block_means.tiles * tile_elements);
  block_means.means = means->get();
  for (const auto& parts : {prefixes, chunks}) {
    const std::vector<PrefillTile> host_tiles = PlanPrefillTiles(parts);
    if (host_tiles.empty()) continue;
    const DeviceArray<PrefillTile> part_tiles(host_tiles);
    const int32_t count = static_cast<int32_t>(host_tiles.size());
    REQUIRE_CUDA(LaunchKvWrite({k->get(), v->get(), kv_heads, head_dim, kv, part_tiles.get(), count}, nullptr));
    REQUIRE_CUDA(LaunchBlockMeans(kv, kv_heads, head_dim, part_tiles.get(), count, block_means, nullptr));
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }
  tiles = PlanPrefillTiles(chunk_queries);
  device_tiles = std::make_unique<DeviceArray<PrefillTile>>(tiles);
  context = {k->get(), v->get(), context_row->get(), kv_heads, head_dim};
}

double RelativeError(const std::vector<bf16>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); i++) {
    const double d = __bfloat162float(a[i]) - b[i];
    difference += d * d;
    norm += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace longshore::cuda::test
