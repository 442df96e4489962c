#include <algorithm>
#include <utility>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/question.h"
#include "cli/sequence.h"

namespace longshore::cli {
namespace {

struct Asked {
  uint64_t right = 0, tokens = 0;
  EngineStats before, after;

  double attention_us() const { return static_cast<double>(after.attention_ns - before.attention_ns) / 1000.0 / static_cast<double>(tokens); }
  double step_us() const { return static_cast<double>(after.decode_ns - before.decode_ns) / 1000.0 / static_cast<double>(tokens); }
};

// One token a step, so that every one of them is decoded; each question starts after the context alone.
Status Ask(Engine& engine, const std::vector<Question>& questions, uint32_t context, Asked* asked) {
  Sequence sequence(engine, 1);
  const SamplingParams greedy;
  const auto ask = [&](const Question& q, bool* right) {
    sequence.Rewind(context);
    uint32_t next = 0;
    for (const uint32_t& token : q.prompt) {
      if (Status s = sequence.Feed({&token, 1}, &greedy, &next); !s.ok()) return s;
      asked->tokens++;
    }
    size_t at = 0;
    for (; at < q.answer.size() && next == q.answer[at]; ++at) {
      if (at + 1 == q.answer.size()) continue;
      if (Status s = sequence.Feed({&next, 1}, &greedy, &next); !s.ok()) return s;
      asked->tokens++;
    }
    *right = at == q.answer.size();
    return Status::Ok();
  };
  bool right = false;
  // The first one also touches memory for the first time and makes what is derived from the cached keys.
  if (Status s = ask(questions.front(), &right); !s.ok()) return s;
  asked->tokens = 0;
  asked->before = engine.stats();
  for (const Question& q : questions) {
    if (Status s = ask(q, &right); !s.ok()) return s;
    asked->right += right;
  }
  asked->after = engine.stats();
  return Status::Ok();
}

const char* NameOf(DecodeKind kind) {
  switch (kind) {
    case DecodeKind::kSketchTopk: return "sketch_topk";
    case DecodeKind::kBlockTopk: return "block_topk";
    case DecodeKind::kGraph: return "graph";
    case DecodeKind::kDense: break;
  }
  return "dense";
}

Status CopyBlocks(const Engine& from, Engine* to, uint32_t tokens) {
  const ModelInfo& info = from.info();
  std::vector<uint8_t> bytes(info.kv_bytes_per_token / info.layers * kBlockTokens);
  for (uint32_t block = 0; block * kBlockTokens < tokens; ++block)
    for (uint32_t layer = 0; layer < info.layers; ++layer) {
      if (Status s = from.ReadBlock(block, layer, kBlockTokens, bytes); !s.ok()) return s;
      if (Status s = to->WriteBlock(block, layer, kBlockTokens, bytes); !s.ok()) return s;
    }
  return Status::Ok();
}

}  // namespace

Status Decode(Arguments& arguments) {
  EngineOptions options = ReadEngineOptions(arguments);
  const bool measure = arguments.Switch("measure"), restored = arguments.Switch("restored");
  const std::string source = arguments.Text("context"), path = arguments.Text("questions");
  if (Status s = arguments.Finish(); !s.ok()) return s;
  if (!options.decode || options.decode->kind == DecodeKind::kDense) return {Code::kInvalidArgument, "decode compares with dense decode: give another --decode-policy"};
  const auto context = ReadTokens(source);
  if (!context.ok()) return context.status();
  const auto questions = ReadQuestions(path);
  if (!questions.ok()) return questions.status();
  size_t longest = 0;
  for (const Question& q : questions.value()) longest = std::max(longest, q.prompt.size() + q.answer.size());
  const auto n = static_cast<uint32_t>(context.value().size());
  options.decode->measure_every = measure ? 1 : 0;
  EngineOptions dense = options;
  dense.decode = DecodePolicy{};
  // Prefilled where the decode policy sees it, unless it shall decode what another engine computed.
  (restored ? options : dense).max_batch_tokens = 1;
  auto reference = OpenFor(dense, n + longest), sparse = OpenFor(options, n + longest);
  if (!reference.ok()) return reference.status();
  if (!sparse.ok()) return sparse.status();
  Engine *first = sparse.value().get(), *second = reference.value().get();
  if (restored) std::swap(first, second);
  if (Status s = Sequence(*first, std::max(options.max_batch_tokens, dense.max_batch_tokens)).Feed(context.value(), nullptr, nullptr); !s.ok()) return s;
  if (Status s = CopyBlocks(*first, second, n); !s.ok()) return s;
  Asked with_dense, with_sparse;
  if (Status s = Ask(*reference.value(), questions.value(), n, &with_dense); !s.ok()) return s;
  if (Status s = Ask(*sparse.value(), questions.value(), n, &with_sparse); !s.ok()) return s;
  const DecodeStats &a = with_sparse.before.decode, &b = with_sparse.after.decode;
  const auto share = [](uint64_t part, uint64_t whole) { return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0; };
  const uint64_t keys = b.keys - a.keys, measured = b.measured - a.measured;
  JsonLine line;
  line.Add("bench", "sparse_decode")
      .Add("model", reference.value()->info().name)
      .Add("n", n)
      .Add("policy", NameOf(options.decode->kind))
      .Add("questions", static_cast<uint64_t>(questions.value().size()))
      .Add("dense_right", with_dense.right)
      .Add("sparse_right", with_sparse.right)
      .Add("dense_us", with_dense.attention_us(), 1)
      .Add("sparse_us", with_sparse.attention_us(), 1)
      .Add("ratio", with_dense.attention_us() / with_sparse.attention_us(), 2)
      .Add("dense_step_us", with_dense.step_us(), 1)
      .Add("sparse_step_us", with_sparse.step_us(), 1)
      .Add("bytes_ratio", share(b.bytes - a.bytes, b.dense_bytes - a.dense_bytes), 5)
      .Add("scanned", share(b.scanned - a.scanned, keys), 5)
      .Add("rescored", share(b.rescored - a.rescored, keys), 5)
      .Add("kept", share(b.kept - a.kept, keys), 5);
  if (b.index_ns > 0) line.Add("index_ms", static_cast<double>(b.index_ns) / 1e6, 1).Add("index_bytes", b.index_bytes);
  if (measured > 0) line.Add("mass_kept", (b.mass_kept - a.mass_kept) / static_cast<double>(measured), 4);
  line.Add("numerics", reference.value()->info().numerics).Print();
  return Status::Ok();
}

}  // namespace longshore::cli
