// Which keys each attention head reads in prefill, as data: one head policy per layer and head, from a JSON file or a built-in name.
//
// A policy decides a published block's bytes, so its canonical form is part of the cache identity (docs/design/0017).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/decode/decode_policy.h"
#include "engine/formats/hyperparameters.h"
#include "engine/status.h"

namespace longshore {

enum class HeadPolicyType { kDense, kAShape, kVerticalSlash, kBlockSparse, kBlockEnergy };

// Fields that a type does not use keep their defaults. Lengths in tokens count whole blocks, rounded up.
struct HeadPolicy {
  HeadPolicyType type = HeadPolicyType::kDense;
  uint32_t sink = 0;             // first tokens, always read (a_shape, block_energy)
  uint32_t window = 0;           // last tokens, the query's block included, always read (a_shape, block_energy)
  uint32_t vertical = 0;         // columns (vertical_slash)
  uint32_t slash = 0;            // diagonals (vertical_slash)
  uint32_t top_k = 0;            // blocks (block_sparse)
  float alpha = 0.f;             // share of the row's best energy that keeps a block (block_energy)
  float tau = 0.f;               // share of some row's mass that keeps a block in the second look; 0: no second look (block_energy)
  bool mean_correction = false;  // pruned blocks count by their means (block_energy)
  bool shared = false;           // one selection for the query heads of a KV head: the union of theirs

  bool operator==(const HeadPolicy&) const = default;
};

struct AttentionPolicy {
  uint32_t min_tokens = 0;        // query blocks that end at or below are dense
  uint32_t layers = 0, heads = 0;
  std::vector<HeadPolicy> table;  // [layers][heads]; empty: all dense

  DecodePolicy decode = {};       // no part of the identity: published blocks are computed by prefill

  bool dense() const { return table.empty(); }  // in prefill
  const HeadPolicy& at(uint32_t layer, uint32_t head) const { return table[size_t{layer} * heads + head]; }
  // Canonical JSON (sorted keys, no spaces, fractions as strings): equal text means equal bytes of every block.
  std::string CanonicalJson() const;
};

// `text`: this project's policy JSON, or one of MInference's published best-pattern files (a list with a {head: [type, a, b, score]}
// per layer). Errors: kCorrupt (no JSON, or values out of range: the message names the member), kUnsupported (an unknown
// format, version, type or member), kInvalidArgument (a layer or head that the model lacks).
Result<AttentionPolicy> ParsePolicy(std::string_view text, uint32_t layers, uint32_t heads);

// A built-in (policy/built_in.h), the path of a JSON file, or JSON itself. "default" is what was measured for a model of this shape;
// dense for other models. Errors: ParsePolicy's, kNotFound.
Result<AttentionPolicy> LoadPolicy(const std::string& name, const Hyperparameters& model);
// The same where no model is known.
Result<AttentionPolicy> LoadPolicy(const std::string& name, uint32_t layers, uint32_t heads);

}  // namespace longshore
