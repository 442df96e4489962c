// How much attention mass a fixed number of keys holds: chosen anew for every query, or once and for all from the prefill.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/question.h"
#include "engine/cores.h"
#include "engine/forward.h"

namespace longshore::cli {
namespace {

using kernels::kKeyTile;

constexpr uint32_t kSampleEvery = 256;  // positions of the prefill whose attention is averaged
constexpr uint32_t kLastQueries = 64;   // of the context: "static_last"

// The attention of all heads of all layers, as one sequence's blocks in order show it.
class MassMeter {
 public:
  enum Choice : uint32_t { kDynamic, kStaticAverage, kStaticLast, kStaticFirst, kChoices };
  static const char* Name(uint32_t choice) {
    constexpr const char* kNames[] = {"dynamic", "static_average", "static_last", "static_first_question"};
    return kNames[choice];
  }

  MassMeter(const Hyperparameters& h, const KvPool& pool, ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t context, std::vector<uint32_t> counts)
      : h_(h), pool_(pool), threads_(threads), kernels_(kernels), context_(context), counts_(std::move(counts)), sums_(size_t{h.layers} * kChoices * counts_.size(), 0.0) {
    for (auto* set : {&average_, &last_, &first_}) set->assign(size_t{h.layers} * h.heads, std::vector<float>(context, 0.f));
    masses_.resize(h.heads);
  }

  // Queries of the context itself: what a static choice may know.
  void Learn(uint32_t layer, const ForwardBatch& batch, const float* q, size_t stride) {
    for (uint32_t r = 0; r < batch.positions.size(); ++r) {
      const uint32_t position = batch.positions[r];
      const bool sampled = position % kSampleEvery == kSampleEvery - 1, last = position + kLastQueries >= context_;
      if (sampled || last) ForHeads(layer, batch, q + r * stride, position, [&](uint32_t head, const std::vector<float>& p) {
        if (sampled) Add(p, &average_[size_t{layer} * h_.heads + head]);
        if (last) Add(p, &last_[size_t{layer} * h_.heads + head]);
      });
    }
  }

  // Queries of a question. The first question's are the last static choice, the others are counted.
  void Measure(uint32_t question, uint32_t layer, const ForwardBatch& batch, const float* q, size_t stride) {
    if (orders_.empty() && question > 0) Rank();
    for (uint32_t r = 0; r < batch.positions.size(); ++r) {
      ForHeads(layer, batch, q + r * stride, batch.positions[r], [&](uint32_t head, const std::vector<float>& p) {
        const size_t at = size_t{layer} * h_.heads + head;
        if (question == 0) return Add(p, &first_[at]);
        std::vector<double>& masses = masses_[head];
        masses.clear();
        std::vector<float> best(p.begin(), p.end());
        const uint32_t most = std::min<uint32_t>(counts_.back(), static_cast<uint32_t>(best.size()));
        std::partial_sort(best.begin(), best.begin() + most, best.end(), std::greater<>());
        for (const uint32_t count : counts_) masses.push_back(std::accumulate(best.begin(), best.begin() + std::min(count, most), 0.0));
        for (uint32_t set = 0; set < kChoices - 1; ++set) {
          const std::vector<uint32_t>& order = orders_[set * size_t{h_.layers} * h_.heads + at];
          for (const uint32_t count : counts_) {
            double mass = 0;
            for (uint32_t i = 0; i < std::min<size_t>(count, order.size()); ++i) mass += static_cast<double>(p[order[i]]);
            masses.push_back(mass);
          }
        }
      });
      if (question == 0) continue;
      for (uint32_t head = 0; head < h_.heads; ++head)
        for (size_t i = 0; i < masses_[head].size(); ++i) sums_[size_t{layer} * masses_[head].size() + i] += masses_[head][i];
      queries_ += layer == 0;
    }
  }

  void Print(const std::string& model, const std::string& numerics) const {
    const double rows = static_cast<double>(queries_) * h_.heads;
    for (uint32_t choice = 0; choice < kChoices; ++choice)
      for (size_t c = 0; c < counts_.size(); ++c) {
        const auto of = [&](uint32_t layer) { return sums_[(size_t{layer} * kChoices + choice) * counts_.size() + c] / rows; };
        double mean = 0, least = 1;
        for (uint32_t l = 0; l < h_.layers; ++l) {
          mean += of(l) / h_.layers;
          least = std::min(least, of(l));
        }
        JsonLine()
            .Add("bench", "attention_mass")
            .Add("model", model)
            .Add("n", context_)
            .Add("choice", Name(choice))
            .Add("keys", counts_[c])
            .Add("mass", mean, 4)
            .Add("least_layer", least, 4)
            .Add("queries", queries_)
            .Add("numerics", numerics)
            .Print();
      }
  }

 private:
  static void Add(const std::vector<float>& p, std::vector<float>* to) {
    for (size_t i = 0; i < std::min(p.size(), to->size()); ++i) (*to)[i] += p[i];
  }

  // Shows each head's probabilities [position + 1] of one query.
  template <typename Fn>
  void ForHeads(uint32_t layer, const ForwardBatch& batch, const float* q, uint32_t position, const Fn& fn) {
    const uint32_t d = h_.head_dim, keys = position + 1, tiles = (keys + kKeyTile - 1) / kKeyTile;
    const float scale = static_cast<float>(1.4426950408889634 * (h_.query_scale > 0.0 ? h_.query_scale : 1.0 / std::sqrt(static_cast<double>(d))));
    threads_.Run(h_.heads, [&](uint32_t head, uint32_t) {
      std::vector<float> row(pool_.padded(), 0.f), scores(size_t{tiles} * kKeyTile);
      std::vector<uint16_t> row_bf16(pool_.padded() + 32, 0);
      for (uint32_t c = 0; c < d; ++c) row[c] = q[size_t{head} * d + c] * scale;
      kernels_.to_bf16(row.data(), pool_.padded(), row_bf16.data());
      kernels::Attend a{};
      a.q = row.data();
      a.q_bf16 = row_bf16.data();
      a.rows = a.group = 1;
      a.head_dim = d;
      a.padded = pool_.padded();
      for (uint32_t t = 0; t < tiles; ++t) {
        const void* k = pool_.KTile(batch.items[0].block_table[t], layer, head / (h_.heads / h_.kv_heads));
        a.k_tiles = &k;
        a.scores = &scores[size_t{t} * kKeyTile];
        kernels_.score[static_cast<size_t>(kernels::KvKind::kBf16)](a, kKeyTile);
      }
      scores.resize(keys);
      const float most = *std::max_element(scores.begin(), scores.end());
      double sum = 0;
      for (float& s : scores) sum += static_cast<double>(s = std::exp2(s - most));
      for (float& s : scores) s = static_cast<float>(s / sum);
      fn(head, scores);
    });
  }

  void Rank() {
    const uint32_t most = std::min(counts_.back(), context_);
    for (const auto* set : {&average_, &last_, &first_})
      for (const std::vector<float>& p : *set) {
        std::vector<uint32_t>& order = orders_.emplace_back(context_);
        std::iota(order.begin(), order.end(), 0u);
        std::partial_sort(order.begin(), order.begin() + most, order.end(), [&](uint32_t a, uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; });
        order.resize(most);
      }
  }

  const Hyperparameters& h_;
  const KvPool& pool_;
  ThreadPool& threads_;
  const kernels::KernelTable& kernels_;
  uint32_t context_;
  std::vector<uint32_t> counts_;
  std::vector<std::vector<float>> average_, last_, first_;  // [layers, heads][context] summed probabilities
  std::vector<std::vector<uint32_t>> orders_;               // [static choices, layers, heads] best first
  std::vector<std::vector<double>> masses_;                 // [heads] of the query at hand: [choices, counts]
  std::vector<double> sums_;                                // [layers, choices, counts]
  uint64_t queries_ = 0;
};

}  // namespace

Status AttentionMass(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const std::string source = arguments.Text("context"), path = arguments.Text("questions");
  std::vector<uint32_t> counts = arguments.Integers("keys", {100, 300, 1000, 3000, 10000});
  if (Status s = arguments.Finish(); !s.ok()) return s;
  std::sort(counts.begin(), counts.end());
  const auto context = ReadTokens(source);
  if (!context.ok()) return context.status();
  const auto questions = ReadQuestions(path);
  if (!questions.ok()) return questions.status();
  if (options.kv_dtype != KvDtype::kBf16) return {Code::kUnsupported, "attention-mass reads a pool of bf16"};
  size_t longest = 0;
  for (const Question& q : questions.value()) longest = std::max(longest, q.prompt.size() + q.answer.size());
  const kernels::KernelTable* kernels = kernels::SelectKernels(options.isa.c_str());
  if (kernels == nullptr) return {Code::kUnsupported, "isa '" + options.isa + "' is unknown or this machine lacks it"};
  ThreadPool threads(options.threads > 0 ? options.threads : std::min(AvailableCores(), ThreadPool::kMaxThreads));
  auto model = Model::Load(options.model_path, false, threads);
  if (!model.ok()) return model.status();
  const Hyperparameters& h = model.value()->h();
  const auto policy = LoadPolicy(options.policy, h.layers, h.heads);
  if (!policy.ok()) return policy.status();
  const auto n = static_cast<uint32_t>(context.value().size());
  const auto blocks = static_cast<uint32_t>((n + longest + kBlockTokens - 1) / kBlockTokens);
  KvPool pool;
  if (Status s = pool.Allocate({blocks, h.layers, h.kv_heads, h.head_dim, KvDtype::kBf16}); !s.ok()) return s;
  Forward forward;
  if (Status s = forward.Allocate(*model.value(), pool, threads, *kernels, options.max_batch_tokens, policy.value(), DecodePolicy{}, false); !s.ok()) return s;
  MassMeter meter(h, pool, threads, *kernels, n, counts);
  std::vector<uint32_t> table(blocks);
  std::iota(table.begin(), table.end(), 0u);
  const auto feed = [&](std::span<const uint32_t> tokens, uint32_t position, uint32_t chunk) {
    for (; !tokens.empty(); tokens = tokens.subspan(std::min<size_t>(chunk, tokens.size()))) {
      const auto count = static_cast<uint32_t>(std::min<size_t>(chunk, tokens.size()));
      ForwardBatch batch;
      batch.tokens.assign(tokens.begin(), tokens.begin() + count);
      batch.positions.resize(count);
      std::iota(batch.positions.begin(), batch.positions.end(), position);
      batch.items.push_back({0, count, position, table.data()});
      forward.Run(batch, nullptr);
      position += count;
    }
  };
  if (*std::max_element(context.value().begin(), context.value().end()) >= h.vocab) return {Code::kInvalidArgument, "a token id is not below the model's vocabulary"};
  forward.set_query_observer([&](uint32_t layer, const ForwardBatch& batch, const float* q, size_t stride) { meter.Learn(layer, batch, q, stride); });
  feed(context.value(), 0, options.max_batch_tokens);
  for (uint32_t i = 0; i < questions.value().size(); ++i) {
    // The answer is given, token by token: what attention would see if it came out right.
    std::vector<uint32_t> tokens = questions.value()[i].prompt;
    tokens.insert(tokens.end(), questions.value()[i].answer.begin(), questions.value()[i].answer.end() - 1);
    forward.set_query_observer([&](uint32_t layer, const ForwardBatch& batch, const float* q, size_t stride) { meter.Measure(i, layer, batch, q, stride); });
    feed(tokens, n, 1);
  }
  meter.Print(h.name, std::string("cpu-") + kernels->isa);
  return Status::Ok();
}

}  // namespace longshore::cli
