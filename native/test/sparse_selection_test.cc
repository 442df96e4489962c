// Which keys a query block chooses, against slow twins in double: energies, masses and line sums written down as their definitions.
// A choice may differ from a twin's only where its score is within the kernels' rounding of the threshold.
#include "test/kernel_cases.h"
#include "test/sparse_case.h"

namespace longshore {
namespace {

using namespace test;

constexpr SparseShape kShape{4, 2, 64, 1280};

bool Has(const std::vector<uint32_t>& list, uint32_t x) { return std::binary_search(list.begin(), list.end(), x); }

// Calls check(unit, head, block) for every whole query block of one sequence under `head`'s policy, on every instruction set.
template <typename Fn>
void ForUnits(uint64_t seed, const HeadPolicy& head, const Fn& check) {
  Random random(seed);
  SparseCase c(random, kShape);
  for (const kernels::KernelTable* table : Tables()) {
    Recorder record;
    c.Run(*table, Uniform(head, kShape.heads), 2, 0, kShape.context, &record);
    for (const auto& [key, unit] : record.units) check(c, unit, std::get<1>(key), std::get<2>(key), table->attend_reads_bf16);
  }
}

// energy[b] = sum over the rows of 2^(q.mean_b - the row's best over blocks).
std::vector<double> Energies(const SparseCase& c, const RecordedUnit& unit, uint32_t head, uint32_t block, bool rounded) {
  std::vector<double> energy(block + 1);
  for (uint32_t t = unit.position; t < unit.position + unit.rows; ++t) {
    const std::vector<double> query = c.Query(t, head, rounded);
    std::vector<double> s;
    for (uint32_t b = 0; b <= block; ++b) s.push_back(c.Dot(query, c.Mean(&SparseCase::Key, b, head, c.s.context).data()));
    const double best = *std::max_element(s.begin(), s.end());
    for (uint32_t b = 0; b <= block; ++b) energy[b] += std::exp2(s[b] - best);
  }
  return energy;
}

TEST(block_energy_keeps_what_reaches_alpha_of_the_best) {
  const HeadPolicy head{.type = HeadPolicyType::kBlockEnergy, .sink = 128, .window = 200, .alpha = 0.8f};
  size_t kept = 0, pruned = 0;
  ForUnits(31, head, [&](const SparseCase& c, const RecordedUnit& unit, uint32_t h, uint32_t block, bool rounded) {
    const std::vector<double> energy = Energies(c, unit, h, block, rounded);
    const double least = 0.8 * *std::max_element(energy.begin(), energy.end());
    for (uint32_t b = 0; b <= block; ++b) {
      CHECK_EQ(Has(unit.selection.always, b), b < 1 || block - b < 2);
      if (Has(unit.selection.always, b)) continue;
      if (energy[b] > least * 1.02) CHECK(Has(unit.selection.kept, b));
      if (energy[b] < least * 0.98) CHECK(!Has(unit.selection.kept, b));
      (Has(unit.selection.kept, b) ? kept : pruned)++;
    }
  });
  if (kept < 20 || pruned < 20) Fail(__FILE__, __LINE__, "a test of nothing: " + std::to_string(kept) + " kept, " + std::to_string(pruned) + " pruned");
}

TEST(the_second_look_keeps_blocks_that_give_some_row_tau_of_its_mass) {
  const HeadPolicy head{.type = HeadPolicyType::kBlockEnergy, .sink = 0, .window = 128, .alpha = 0.f, .tau = 0.6f};
  size_t kept = 0, pruned = 0;
  ForUnits(32, head, [&](const SparseCase& c, const RecordedUnit& unit, uint32_t h, uint32_t block, bool rounded) {
    std::vector<double> best_share(block + 1);
    for (uint32_t t = unit.position; t < unit.position + unit.rows; ++t) {
      const std::vector<double> query = c.Query(t, h, rounded);
      std::vector<double> mass(block + 1);
      double total = 0;
      for (uint32_t key = 0; key <= t; ++key) {
        const double m = std::exp2(c.Dot(query, c.Key(key, h)));
        mass[key / 128] += m;
        total += m;
      }
      for (uint32_t b = 0; b < block; ++b) best_share[b] = std::max(best_share[b], mass[b] / total);
    }
    for (uint32_t b = 0; b < block; ++b) {
      // 8-bit scores move a block's mass by a few per cent.
      if (best_share[b] > 0.6 * 1.1) CHECK(Has(unit.selection.kept, b));
      if (best_share[b] < 0.6 * 0.9) CHECK(!Has(unit.selection.kept, b));
      (Has(unit.selection.kept, b) ? kept : pruned)++;
    }
  });
  if (kept < 20 || pruned < 20) Fail(__FILE__, __LINE__, "a test of nothing: " + std::to_string(kept) + " kept, " + std::to_string(pruned) + " pruned");
}

TEST(block_sparse_keeps_the_blocks_nearest_the_mean_query) {
  const HeadPolicy head{.type = HeadPolicyType::kBlockSparse, .top_k = 4};
  ForUnits(33, head, [&](const SparseCase& c, const RecordedUnit& unit, uint32_t h, uint32_t block, bool) {
    CHECK_EQ(unit.selection.kept.size(), size_t{std::min(3u, block)});
    std::vector<double> mean(c.s.head_dim);
    for (uint32_t t = unit.position; t < unit.position + unit.rows; ++t) {
      const std::vector<double> query = c.Query(t, h, false);
      for (uint32_t i = 0; i < c.s.head_dim; ++i) mean[i] += query[i] / unit.rows;
    }
    double worst_kept = 1e300, best_pruned = -1e300;
    for (uint32_t b = 0; b < block; ++b) {
      const double s = c.Dot(mean, c.Mean(&SparseCase::Key, b, h, c.s.context).data());
      if (Has(unit.selection.kept, b)) worst_kept = std::min(worst_kept, s);
      else best_pruned = std::max(best_pruned, s);
    }
    CHECK(worst_kept >= best_pruned - 0.02);
  });
}

TEST(vertical_slash_keeps_the_columns_with_most_mass_under_the_last_queries) {
  const HeadPolicy head{.type = HeadPolicyType::kVerticalSlash, .vertical = 60, .slash = 0};
  ForUnits(34, head, [&](const SparseCase& c, const RecordedUnit& unit, uint32_t h, uint32_t block, bool rounded) {
    if (block < 2) return;
    const uint32_t end = unit.position + unit.rows, own = block * 128;
    std::vector<double> columns(own);
    for (uint32_t t = end - 64; t < end; ++t) {
      const std::vector<double> query = c.Query(t, h, rounded);
      std::vector<double> p;
      double total = 0;
      for (uint32_t key = 0; key <= t; ++key) total += p.emplace_back(std::exp2(c.Dot(query, c.Key(key, h))));
      for (uint32_t key = 0; key < own; ++key) columns[key] += p[key] / total;
    }
    // The first 30 are always among them; those of the block before are read with it.
    double worst_kept = 1e300, best_pruned = -1e300;
    for (uint32_t key = 0; key < own - 128; ++key) {
      if (key < 30) CHECK(Has(unit.selection.columns, key));
      else if (Has(unit.selection.columns, key)) worst_kept = std::min(worst_kept, columns[key]);
      else best_pruned = std::max(best_pruned, columns[key]);
    }
    CHECK(unit.selection.columns.size() <= 60);
    CHECK(worst_kept >= 0.9 * best_pruned);
  });
}

}  // namespace
}  // namespace longshore

TEST_MAIN
