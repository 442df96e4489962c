// Which blocks and keys a query block reads, by head policy. Each looks only at keys at or before the block's end, and at the
// queries of this block: a published block never depends on what follows it.
#pragma once

#include "engine/sparse/query_block.h"

namespace longshore {

// Fills scratch->selection for the unit whose queries are loaded; may leave scratch->sum holding the `always` blocks
// (scratch->started says so). False when cancelled.
bool Select(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch);

bool SelectByEnergy(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch);
bool SelectByLines(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch);

// Scores of the unit's queries against the means of blocks [0, block]: scratch->mean_scores.
void ScoreMeans(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch);

// The look of the last `rows` rows of the unit at a block before its own; ScoreMeans was called.
kernels::Look LookAtBlock(const SparseLayer& layer, const QueryBlock& unit, uint32_t rows, uint32_t block, UnitScratch* scratch);

}  // namespace longshore
