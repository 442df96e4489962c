#include <algorithm>
#include <cmath>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/question.h"
#include "cli/sequence.h"

namespace longshore::cli {
namespace {

double LogSumExp(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

Status Perplexity(const EngineOptions& options, const std::string& source) {
  const auto tokens = ReadTokens(source);
  if (!tokens.ok()) return tokens.status();
  if (tokens.value().size() < 2) return {Code::kInvalidArgument, "perplexity needs at least two tokens"};
  auto engine = OpenFor(options, tokens.value().size());
  if (!engine.ok()) return engine.status();
  const uint32_t vocab = engine.value()->info().vocab;
  const auto targets = std::span(tokens.value()).subspan(1);
  if (*std::max_element(targets.begin(), targets.end()) >= vocab) return {Code::kInvalidArgument, "a token id is not below the model's vocabulary"};
  double loss = 0;
  uint64_t best = 0;
  Sequence sequence(*engine.value(), options.max_batch_tokens);
  const Status status = sequence.FeedForLogits(std::span(tokens.value()).first(targets.size()), [&](size_t index, std::span<const float> logits) {
    const float target = logits[targets[index]];
    loss += LogSumExp(logits) - target;
    best += target == *std::max_element(logits.begin(), logits.end());
  });
  if (!status.ok()) return status;
  const double mean = loss / static_cast<double>(targets.size());
  JsonLine()
      .Add("eval", "perplexity")
      .Add("tokens", static_cast<uint64_t>(targets.size()))
      .Add("loss", mean, 6)
      .Add("perplexity", std::exp(mean), 4)
      .Add("top1", static_cast<double>(best) / static_cast<double>(targets.size()), 6)
      .Add("numerics", engine.value()->info().numerics)
      .Print();
  return Status::Ok();
}

// Greedy answers, token for token; stops at the first wrong one. Consecutive questions reuse the prefix they share.
Status Retrieval(const EngineOptions& options, const std::string& path) {
  const auto questions = ReadQuestions(path);
  if (!questions.ok()) return questions.status();
  size_t longest = 0;
  for (const Question& q : questions.value()) longest = std::max(longest, q.prompt.size() + q.answer.size());
  auto engine = OpenFor(options, longest);
  if (!engine.ok()) return engine.status();
  Sequence sequence(*engine.value(), options.max_batch_tokens);
  const SamplingParams greedy;
  std::vector<uint32_t> computed;
  uint64_t exact = 0;
  for (const Question& q : questions.value()) {
    const size_t shared = static_cast<size_t>(std::mismatch(computed.begin(), computed.end(), q.prompt.begin(), q.prompt.end()).first - computed.begin());
    const size_t keep = std::min(shared, q.prompt.size() - 1);
    sequence.Rewind(static_cast<uint32_t>(keep));
    uint32_t next = 0;
    if (Status status = sequence.Feed(std::span(q.prompt).subspan(keep), &greedy, &next); !status.ok()) return status;
    computed = q.prompt;
    size_t right = 0;
    while (right < q.answer.size() && next == q.answer[right]) {
      if (++right == q.answer.size()) break;
      if (Status status = sequence.Feed({&next, 1}, &greedy, &next); !status.ok()) return status;
    }
    exact += right == q.answer.size();
  }
  JsonLine()
      .Add("eval", "retrieval")
      .Add("questions", static_cast<uint64_t>(questions.value().size()))
      .Add("exact", exact)
      .Add("share", static_cast<double>(exact) / static_cast<double>(questions.value().size()), 6)
      .Add("longest", static_cast<uint64_t>(longest))
      .Add("numerics", engine.value()->info().numerics)
      .Print();
  return Status::Ok();
}

}  // namespace

Status Evaluate(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const std::string perplexity = arguments.Text("perplexity"), retrieval = arguments.Text("retrieval");
  if (Status status = arguments.Finish(); !status.ok()) return status;
  if (perplexity.empty() == retrieval.empty()) return {Code::kInvalidArgument, "eval needs either --perplexity or --retrieval"};
  return perplexity.empty() ? Retrieval(options, retrieval) : Perplexity(options, perplexity);
}

}  // namespace longshore::cli
