#include "kernels/cuda/sketch_decode.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "kernels/cuda/sketch_kernels.h"
#include "kernels/cuda/sketch_rotation.cuh"
#include "kernels/cuda/test/prompts.h"
#include "test/check.h"

namespace longshore::cuda::test {
namespace {

// Prompts and the sketches of their whole blocks, one entry for each (block of the pool, kv head); the others stay poisoned.
struct Sketched {
  Prompts prompts;
  DeviceArray<uint8_t> entries;
  SketchPool pool;

  Sketched(const std::vector<int32_t>& lengths, int32_t heads, int32_t kv_heads, float contrast, int32_t head_dim)
      : prompts(Queries(lengths), heads, kv_heads, contrast, std::random_device{}(), head_dim),
        entries(static_cast<size_t>(prompts.pool->count() / (2 * TileElements(head_dim))) * SketchBytes(head_dim)),
        pool{entries.get(), int64_t{kv_heads} * SketchBytes(head_dim), SketchBytes(head_dim)} {
    std::vector<PrefillChunk> chunks;
    for (const int32_t length : lengths) chunks.push_back({0, 0, length});
    const std::vector<PrefillTile> tiles = PlanPrefillTiles(chunks);
    const DeviceArray<PrefillTile> device_tiles(tiles);
    REQUIRE_CUDA(LaunchSketchBuild({prompts.kv, pool, kv_heads, head_dim, device_tiles.get(), static_cast<int32_t>(tiles.size())}, nullptr));
    REQUIRE_CUDA(cudaDeviceSynchronize());
  }

  // The prompts' last rows are the queries: one per sequence.
  static std::vector<Prompt> Queries(const std::vector<int32_t>& lengths) {
    std::vector<Prompt> list;
    for (const int32_t length : lengths) list.push_back({length - 1, 1});
    return list;
  }

  SketchDecode Params() const {
    SketchDecode params = {};
    params.q = prompts.q->get();
    params.sequences = static_cast<int32_t>(prompts.totals.size());
    params.heads = prompts.heads;
    params.kv_heads = prompts.kv_heads;
    params.head_dim = prompts.head_dim;
    params.kv = prompts.kv;
    params.sketches = pool;
    params.lengths = prompts.lengths->get();
    params.max_length = prompts.max_blocks * kBlockTokens;
    params.scale = prompts.scale;
    params.min_tokens = 1024;
    params.sink_tokens = 128;
    params.window_tokens = 256;
    params.rescore = 0.01f;
    params.min_rescore = 64;
    params.keep = 0.99f;
    return params;
  }
};

struct Answer {
  std::vector<bf16> out;
  std::vector<int32_t> counts;
  std::vector<__half> workspace;
};

Answer Run(SketchDecode params) {
  const size_t heads = static_cast<size_t>(params.sequences) * params.heads;
  DeviceArray<bf16> out(heads * params.head_dim);
  DeviceArray<int32_t> counts(2 * heads);
  DeviceArray<__half> workspace(SketchDecodeBytes(params.sequences, params.heads, params.max_length) / 2);
  params.out = out.get();
  params.counts = counts.get();
  params.workspace = reinterpret_cast<uint8_t*>(workspace.get());
  REQUIRE_CUDA(LaunchSketchDecode(params, nullptr));
  REQUIRE_CUDA(cudaDeviceSynchronize());
  return {out.Host(), counts.Host(), workspace.Host()};
}

std::vector<float> Rotate(std::vector<float> x) {
  const size_t depth = x.size();
  for (size_t i = 0; i < depth; i++) x[i] *= (kSketchSigns.word[i / 32] >> (i % 32) & 1 ? -1.0f : 1.0f) / std::sqrt(static_cast<float>(depth));
  for (size_t width = 1; width < depth; width *= 2)
    for (size_t i = 0; i < depth; i += 2 * width)
      for (size_t j = i; j < i + width; j++) {
        const float a = x[j], b = x[j + width];
        x[j] = a + b;
        x[j + width] = a - b;
      }
  return x;
}

bool Sign(const uint8_t* entry, int32_t depth, int32_t key, int32_t channel) {
  const int32_t t = key / 16, h = key / 8 % 2, g = key % 8, j = channel / 16, c = channel / 4 % 4, b = channel % 4;
  const int32_t w = depth == 64 ? t : depth == 128 ? 2 * t + h : 2 * (2 * t + h) + j / 8, bit = 8 * b + (depth == 64 ? j + 4 * h : j % 8);
  uint32_t word;
  std::memcpy(&word, entry + ((w / 4 * 32 + 4 * g + c) * 4 + w % 4) * 4, 4);
  return (word >> bit & 1) != 0;
}

float Factor(const uint8_t* entry, int32_t depth, int32_t key) {
  __half factor;
  std::memcpy(&factor, entry + SketchFactorOffset(depth) + (key % 16 * 8 + key / 16) * 2, 2);
  return __half2float(factor);
}

float Mean(const uint8_t* entry, int32_t depth, int32_t channel) {
  bf16 mean;
  std::memcpy(&mean, entry + SketchMeanOffset(depth) + channel * 2, 2);
  return __bfloat162float(mean);
}

// Host copies of what the estimates and the exact scores come from.
struct Host {
  const Sketched& sketched;
  std::vector<bf16> q = sketched.prompts.q->Host(), k = sketched.prompts.k->Host(), v = sketched.prompts.v->Host();
  std::vector<uint8_t> entries = sketched.entries.Host();
  std::vector<int32_t> table = sketched.prompts.table->Host();

  const uint8_t* Entry(int32_t sequence, int32_t block, int32_t kv_head) const {
    return &entries[table[sequence * sketched.prompts.max_blocks + block] * sketched.pool.block_stride + kv_head * sketched.pool.head_stride];
  }
  float Key(int32_t sequence, int32_t token, int32_t kv_head, int32_t channel, const std::vector<bf16>& from) const {
    const Prompts& p = sketched.prompts;
    return channel < p.head_dim ? __bfloat162float(from[(static_cast<size_t>(p.context_rows[sequence] + token) * p.kv_heads + kv_head) * p.head_dim + channel]) : 0.0f;
  }
};

void CheckSketches(int32_t head_dim) {
  const Sketched sketched({700, 256}, 4, 2, 1.5f, head_dim);
  const Host host{sketched};
  const int32_t depth = SketchDepth(head_dim);
  int64_t signs = 0, wrong_signs = 0;
  double worst_factor = 0, worst_mean = 0;
  for (int32_t sequence = 0; sequence < 2; sequence++)
    for (int32_t block = 0; (block + 1) * kBlockTokens <= sketched.prompts.totals[sequence]; block++)
      for (int32_t kv_head = 0; kv_head < 2; kv_head++) {
        const uint8_t* entry = host.Entry(sequence, block, kv_head);
        for (int32_t c = 0; c < depth; c++) {
          double mean = 0;
          for (int32_t t = 0; t < kBlockTokens; t++) mean += host.Key(sequence, block * kBlockTokens + t, kv_head, c, host.k) / kBlockTokens;
          worst_mean = std::max(worst_mean, std::abs(Mean(entry, depth, c) - mean) / (std::abs(mean) + 1e-3));
        }
        for (int32_t t = 0; t < kBlockTokens; t++) {
          std::vector<float> difference(depth);
          double squares = 0, absolute = 0;
          for (int32_t c = 0; c < depth; c++) {
            difference[c] = host.Key(sequence, block * kBlockTokens + t, kv_head, c, host.k) - Mean(entry, depth, c);
            squares += static_cast<double>(difference[c]) * difference[c];
          }
          const std::vector<float> rotated = Rotate(difference);
          for (int32_t c = 0; c < depth; c++) {
            absolute += std::abs(rotated[c]);
            if (std::abs(rotated[c]) < 1e-4f) continue;
            signs++;
            wrong_signs += Sign(entry, depth, t, c) != (rotated[c] > 0);
          }
          worst_factor = std::max(worst_factor, std::abs(Factor(entry, depth, t) / (squares / absolute) - 1));
        }
      }
  std::printf("  head_dim %d: %lld signs, factor within %.1e, mean within %.1e\n", head_dim, static_cast<long long>(signs), worst_factor, worst_mean);
  CHECK_EQ(wrong_signs, 0);
  CHECK(signs > 100000);
  CHECK(worst_factor < 2e-3);
  CHECK(worst_mean < 6e-3);
}

TEST(sketches_hold_the_signs_factors_and_means_of_their_keys) {
  for (const int32_t head_dim : {64, 96, 128, 256}) CheckSketches(head_dim);
}

int32_t Ordered(__half x) {
  const int32_t u = std::bit_cast<uint16_t>(x);
  return u & 0x8000 ? ~u & 0xffff : u | 0x8000;
}

// The device's estimates against the definition, and then, with these estimates taken as they are, its choice and its answer. `lowest` and
// `highest` bound how many groups may reach the threshold, in shares of what is wanted.
void CheckDecode(const std::vector<int32_t>& lengths, int32_t heads, int32_t kv_heads, float contrast, int32_t head_dim, float rescore) {
  const Sketched sketched(lengths, heads, kv_heads, contrast, head_dim);
  SketchDecode params = sketched.Params();
  params.rescore = rescore;
  const Answer answer = Run(params);
  const Host host{sketched};
  const Prompts& prompts = sketched.prompts;
  const int32_t depth = SketchDepth(head_dim), group = heads / kv_heads;
  const float log2_scale = params.scale * 1.4426950408889634f;
  double estimate_error = 0, estimate_norm = 0;
  std::vector<float> want(answer.out.size());
  int64_t rescored = 0, kept = 0, wrong_counts = 0, keys_scanned = 0;
  for (int32_t sequence = 0; sequence < params.sequences; sequence++) {
    const int32_t length = prompts.totals[sequence];
    const SketchRange range = ScannedBlocks(params, length);
    for (int32_t head = 0; head < heads; head++) {
      const int32_t kv_head = head / group;
      const size_t row = static_cast<size_t>(sequence) * heads + head;
      std::vector<float> q(depth, 0.0f);
      for (int32_t c = 0; c < head_dim; c++) q[c] = __bfloat162float(host.q[row * head_dim + c]) * log2_scale;
      const std::vector<float> rotated = Rotate(q);
      const auto dot = [&](int32_t token) {
        float sum = 0;
        for (int32_t c = 0; c < head_dim; c++) sum += q[c] * host.Key(sequence, token, kv_head, c, host.k);
        return sum;
      };
      // Estimates, and what the device made of them.
      const int32_t blocks = range.last - range.first;
      std::vector<int32_t> code(static_cast<size_t>(blocks) * kBlockTokens);  // of the key at each place behind the sink, by order
      std::map<int32_t, int32_t> best_codes;
      for (int32_t b = 0; b < blocks; b++) {
        const uint8_t* entry = host.Entry(sequence, range.first + b, kv_head);
        double base = 0;
        for (int32_t c = 0; c < depth; c++) base += static_cast<double>(q[c]) * Mean(entry, depth, c);
        const size_t at = (row * prompts.max_blocks + range.first + b) * kBlockTokens;
        for (int32_t r = 0; r < kSketchGroups; r++) {
          int32_t best = 0;
          for (int32_t t = 0; t < kGroupKeys; t++) {
            const int32_t key = r + kSketchGroups * t;
            double sum = 0;
            for (int32_t c = 0; c < depth; c++) sum += Sign(entry, depth, key, c) ? rotated[c] : -rotated[c];
            const double estimate = Factor(entry, depth, key) * sum;
            const __half got = answer.workspace[at + r * kGroupKeys + t];
            estimate_error += std::pow(__half2float(got) - base - estimate, 2);
            estimate_norm += estimate * estimate;
            code[b * kBlockTokens + key] = Ordered(got);
            best = std::max(best, Ordered(got));
          }
          best_codes[best]++;
          CHECK_EQ(Ordered(answer.workspace[static_cast<size_t>(params.sequences) * heads * prompts.max_blocks * kBlockTokens + at / kGroupKeys + r]), best);
        }
      }
      // The choice: as many as the device says, the best ones, as many groups among them as were wanted (or, after trimming, keys).
      std::vector<int32_t> listed(code.size());
      for (size_t i = 0; i < listed.size(); i++) listed[i] = static_cast<int32_t>(i);
      std::stable_sort(listed.begin(), listed.end(), [&](int32_t a, int32_t b) { return code[a] > code[b]; });
      const int32_t count = answer.counts[2 * row];
      const int32_t wanted = std::min<int32_t>(static_cast<int32_t>(listed.size()), std::max(params.min_rescore, static_cast<int32_t>(std::ceil(rescore * static_cast<float>(listed.size())))));
      if (count > static_cast<int32_t>(listed.size()) || (blocks > 0 && count == 0)) {
        wrong_counts++;
        continue;
      }
      listed.resize(count);
      if (count > 0) {
        const int32_t threshold = code[listed.back()];
        int32_t groups = 0, ties = 0;
        for (const auto& [value, n] : best_codes)
          if (value >= threshold) groups += n;
        for (const int32_t value : code) ties += value == threshold;
        // No group that reaches the threshold is missing; a sixteenth more than wanted, ties aside.
        const int32_t want_groups = std::min(wanted, blocks * kSketchGroups);
        const bool by_group = groups >= want_groups && count <= 2 * wanted && groups <= want_groups + want_groups / 16 + ties;
        const bool by_key = count >= wanted && count <= wanted + wanted / 16 + ties;
        const bool all = count == static_cast<int32_t>(code.size());
        wrong_counts += !(by_group || by_key || all);
        if (count < static_cast<int32_t>(code.size())) {
          int32_t reach = 0;
          for (const int32_t value : code) reach += value >= threshold;
          wrong_counts += reach != count;
        }
      }
      // The answer over sink, window and what was listed.
      std::vector<std::pair<int32_t, float>> always, middle;
      for (int32_t token = 0; token < length; token++)
        if (blocks == 0 || token < range.first * kBlockTokens || token >= range.last * kBlockTokens) always.emplace_back(token, dot(token));
      for (const int32_t place : listed) middle.emplace_back(range.first * kBlockTokens + place, dot(range.first * kBlockTokens + place));
      float peak = -INFINITY;
      for (const auto& list : {always, middle})
        for (const auto& [token, score] : list) peak = std::max(peak, score);
      const float cut = peak - std::log2(static_cast<float>(std::max(1, count)) / (1 - params.keep));
      double mass = 0;
      int32_t heavy = 0;
      std::vector<double> value(head_dim, 0);
      const auto add = [&](int32_t token, float score) {
        const double weight = std::exp2(static_cast<double>(score) - peak);
        mass += weight;
        for (int32_t c = 0; c < head_dim; c++) value[c] += weight * host.Key(sequence, token, kv_head, c, host.v);
      };
      for (const auto& [token, score] : always) add(token, score);
      for (const auto& [token, score] : middle)
        if (score >= cut) {
          heavy++;
          add(token, score);
        }
      for (int32_t c = 0; c < head_dim; c++) want[row * head_dim + c] = static_cast<float>(value[c] / mass);
      wrong_counts += std::abs(answer.counts[2 * row + 1] - heavy) > 1 + heavy / 100;
      rescored += count;
      kept += heavy;
      keys_scanned += static_cast<int64_t>(code.size());
    }
  }
  const double error = RelativeError(answer.out, want), estimates = estimate_norm > 0 ? std::sqrt(estimate_error / estimate_norm) : 0;
  std::printf("  head_dim %d: %lld keys scanned, %lld scored, %lld kept; estimates within %.1e, answers %.1e\n", head_dim, static_cast<long long>(keys_scanned),
              static_cast<long long>(rescored), static_cast<long long>(kept), estimates, error);
  CHECK_EQ(wrong_counts, 0);
  CHECK(estimates < 2e-2);
  CHECK(error < 5e-3);
}

TEST(sketch_decode_equals_its_twin_at_each_head_dim) {
  for (const int32_t head_dim : {64, 96, 128}) CheckDecode({9000, 1025}, 8, 2, 1, head_dim, 0.01f);
}
TEST(sketch_decode_equals_its_twin_for_each_group_size) {
  CheckDecode({3000}, 9, 3, 0, 64, 0.02f);
  CheckDecode({3000}, 7, 1, 1, 128, 0.02f);
  CheckDecode({3000}, 8, 1, 1, 128, 0.02f);
  CheckDecode({3000}, 3, 3, 1, 128, 0.02f);
}
TEST(sketch_decode_equals_its_twin_on_ragged_batches) { CheckDecode({1, 127, 1023, 1024, 1100, 5000, 4992, 4993}, 4, 2, 1, 128, 0.05f); }
TEST(sketch_decode_equals_its_twin_on_peaked_scores) { CheckDecode({6000}, 8, 2, 3, 128, 0.005f); }

TEST(sketch_decode_of_every_key_equals_dense_decode) {
  for (const int32_t head_dim : {64, 96, 128}) {
    const Sketched sketched({4000, 1500, 900, 30}, 8, 2, 0, head_dim);
    SketchDecode params = sketched.Params();
    params.rescore = 1;
    params.keep = 0.999999f;
    DeviceArray<float> want(static_cast<size_t>(4) * 8 * head_dim);
    SlowDecode(sketched.prompts.q->get(), 8, sketched.prompts.context, sketched.prompts.lengths->get(), 4, params.scale, want.get());
    const double error = RelativeError(Run(params).out, want.Host());
    std::printf("  head_dim %d: relative error %.2e\n", head_dim, error);
    CHECK(error < 5e-3);
  }
}

TEST(sketch_decode_does_not_depend_on_the_batch_and_repeats_its_bits) {
  const Sketched sketched({7000, 2000, 40, 12000}, 8, 2, 1, 128);
  const SketchDecode params = sketched.Params();
  const Answer together = Run(params), again = Run(params);
  CHECK(std::memcmp(together.out.data(), again.out.data(), together.out.size() * sizeof(bf16)) == 0);
  const size_t row = 8 * 128;
  for (int32_t i = 0; i < 4; i++) {
    SketchDecode alone = params;
    alone.sequences = 1;
    alone.q += i * row;
    alone.lengths += i;
    alone.kv.block_table += i * sketched.prompts.max_blocks;
    CHECK(std::memcmp(Run(alone).out.data(), together.out.data() + i * row, row * sizeof(bf16)) == 0);
  }
}

TEST(sketch_decode_survives_keys_that_are_all_alike) {
  const Sketched sketched({20000}, 4, 2, 0, 128);
  REQUIRE_CUDA(cudaMemset(sketched.entries.get(), 0, sketched.entries.count()));  // every estimate 0
  const Answer answer = Run(sketched.Params());
  for (const bf16 x : answer.out) CHECK(std::isfinite(__bfloat162float(x)));
  for (size_t i = 0; i < answer.counts.size(); i += 2) CHECK(answer.counts[i] >= 64 && answer.counts[i] <= 20000);
}

TEST(sketch_decode_refuses_what_it_cannot_hold) {
  SketchDecode params = {};
  params.sequences = params.heads = params.kv_heads = 1;
  params.head_dim = 256;
  params.max_length = 1 << 20;
  params.window_tokens = 256;
  params.rescore = 0.005f;
  params.min_rescore = 64;
  params.keep = 0.99f;
  CHECK_EQ(LaunchSketchDecode(params, nullptr), cudaErrorInvalidValue);
  params.head_dim = 128;
  params.rescore = 0.5f;
  CHECK_EQ(LaunchSketchDecode(params, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace longshore::cuda::test

TEST_MAIN
