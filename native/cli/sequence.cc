#include "cli/sequence.h"

#include <algorithm>
#include <numeric>

namespace longshore::cli {
namespace {

// Logits of so many positions are held at once.
constexpr uint32_t kLogitRows = 128;

}  // namespace

Result<std::unique_ptr<Engine>> OpenFor(EngineOptions options, uint64_t tokens) {
  options.kv_blocks = static_cast<uint32_t>(std::min<uint64_t>((tokens + kBlockTokens - 1) / kBlockTokens, UINT32_MAX));
  return Engine::Open(options);
}

StepItem Sequence::Item(std::span<const uint32_t> tokens) const {
  StepItem item;
  item.tokens.assign(tokens.begin(), tokens.end());
  item.position = position_;
  item.block_table.resize((position_ + tokens.size() + kBlockTokens - 1) / kBlockTokens);
  std::iota(item.block_table.begin(), item.block_table.end(), 0u);
  return item;
}

Status Sequence::Feed(std::span<const uint32_t> tokens, const SamplingParams* sampling, uint32_t* next) {
  history_.resize(position_);
  history_.insert(history_.end(), tokens.begin(), tokens.end());
  std::vector<StepOutput> outputs;
  while (!tokens.empty()) {
    const size_t take = std::min<size_t>(tokens.size(), chunk_);
    StepItem item = Item(tokens.first(take));
    tokens = tokens.subspan(take);
    if (tokens.empty() && sampling) {
      item.sample = true;
      item.sampling = *sampling;
      const bool penalties = sampling->repetition_penalty != 1.f || sampling->presence_penalty != 0.f || sampling->frequency_penalty != 0.f;
      if (penalties) item.history = history_;
    }
    if (Status status = engine_.Step({&item, 1}, &outputs, nullptr); !status.ok()) return status;
    position_ += static_cast<uint32_t>(take);
  }
  if (sampling && next) *next = static_cast<uint32_t>(outputs[0].token);
  return Status::Ok();
}

Status Sequence::FeedForLogits(std::span<const uint32_t> tokens, const std::function<void(size_t, std::span<const float>)>& row) {
  std::vector<StepOutput> outputs;
  const size_t vocab = engine_.info().vocab;
  for (size_t done = 0; done < tokens.size();) {
    const size_t take = std::min<size_t>(tokens.size() - done, std::min(chunk_, kLogitRows));
    StepItem item = Item(tokens.subspan(done, take));
    item.want_logits = true;
    if (Status status = engine_.Step({&item, 1}, &outputs, nullptr); !status.ok()) return status;
    for (size_t i = 0; i < take; i++) row(done + i, std::span(outputs[0].logits).subspan(i * vocab, vocab));
    done += take;
    position_ += static_cast<uint32_t>(take);
  }
  return Status::Ok();
}

}  // namespace longshore::cli
