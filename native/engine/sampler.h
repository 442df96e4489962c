// Draws the next token of one sequence from its logits, as SamplingParams (engine.h) says.
//
// The draw inverts the cumulative distribution of the tokens that the filters keep, walked in order of token id, at the
// uniform number UniformAt(seed, position). Ties are broken by the lower id everywhere. The arithmetic is this file's own
// (double, no library exponential), so equal logits give equal tokens on every machine.
#pragma once

#include <cstdint>
#include <span>

#include "engine/engine.h"
#include "engine/status.h"

namespace longshore {

constexpr uint32_t kMaxTopLogprobs = 20;

// kInvalidArgument with the field's name when a value is out of range or a token id is not below `vocab`.
Status CheckSampling(const SamplingParams& params, std::span<const uint32_t> history, uint32_t vocab);

// Sets token, logprob and top of *output. `logits` are [vocab] and not modified; `position` is the absolute index that the drawn
// token will have (the number of tokens before it); `history` is read only when a penalty is on. The arguments must have passed
// CheckSampling. logprob is set when logprobs or top_logprobs ask for it.
// Errors: kInvalidArgument when every token is banned, kInternal when a logit is not a number or +infinity.
Status Sample(std::span<const float> logits, const SamplingParams& params, std::span<const uint32_t> history, uint64_t position,
              StepOutput* output);

namespace internal {
// e^x for x <= 0, relative error below 2e-15; 0 below -708. Same bits on every machine (no fused multiply-add, no libm).
double ExpNegative(double x);
}  // namespace internal

}  // namespace longshore
