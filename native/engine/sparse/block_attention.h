// Attention of one query block over listed blocks, single keys and block means. Each list is walked in its order in pieces whose
// parts merge by log-sum-exp, so the bits depend on the lists alone.
#pragma once

#include <span>

#include "engine/sparse/query_block.h"

namespace longshore {

// Loads the unit's queries, scaled, and forgets what the scratch held of another unit.
void LoadQueries(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch);

// An Attend of the unit's rows over nothing yet, into `part`.
kernels::Attend UnitAttend(const SparseLayer& layer, const QueryBlock& unit, const UnitScratch& scratch, float* part);

// Each adds to scratch->sum, which scratch->started tells from an empty one. False when cancelled.
bool AttendBlocks(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> blocks, UnitScratch* scratch);
bool AttendColumns(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> keys, UnitScratch* scratch);
// Each block as 128 keys at its mean.
bool AttendMeans(const SparseLayer& layer, const QueryBlock& unit, std::span<const uint32_t> blocks, UnitScratch* scratch);

// scratch->sum to [rows][stride].
void StoreOutput(const SparseLayer& layer, const QueryBlock& unit, const UnitScratch& scratch, float* out, size_t stride);

}  // namespace longshore
