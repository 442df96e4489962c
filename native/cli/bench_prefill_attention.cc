// Attention of a prefill under a sparse policy against the same engine's dense attention, on the same tokens.
#include <algorithm>
#include <thread>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"

namespace longshore::cli {
namespace {

// Moves the KV of `tokens` tokens between engines whose sequences use the blocks in order.
Status CopyKv(Engine& from, Engine& to, uint64_t tokens) {
  const ModelInfo& m = from.info();
  std::vector<uint8_t> raw;
  for (uint64_t first = 0; first < tokens; first += kBlockTokens) {
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(kBlockTokens, tokens - first));
    raw.resize(m.kv_bytes_per_token / m.layers * count);
    for (uint32_t layer = 0; layer < m.layers; ++layer) {
      const auto block = static_cast<uint32_t>(first / kBlockTokens);
      if (Status s = from.ReadBlock(block, layer, count, raw); !s.ok()) return s;
      if (Status s = to.WriteBlock(block, layer, count, raw); !s.ok()) return s;
    }
  }
  return Status::Ok();
}

double Milliseconds(uint64_t ns) { return static_cast<double>(ns) / 1e6; }

}  // namespace

Status BenchPrefillAttention(Arguments& arguments) {
  EngineOptions options = ReadEngineOptions(arguments);
  const Result<std::vector<uint32_t>> tokens = ReadTokens(arguments.Text("tokens"));
  const auto sample = static_cast<uint32_t>(arguments.Integer("dense-sample", 0));
  const std::string data = arguments.Text("data", "given");
  if (Status s = arguments.Finish(); !s.ok()) return s;
  if (!tokens.ok()) return tokens.status();
  const std::span<const uint32_t> all = tokens.value();
  const std::string policy = options.policy;
  auto sparse = OpenFor(options, all.size());
  if (!sparse.ok()) return sparse.status();
  options.policy = "dense";
  auto dense = OpenFor(options, all.size());
  if (!dense.ok()) return dense.status();
  // A short prefill first, so that neither engine pays for its first use of threads and buffers.
  for (Engine* engine : {sparse.value().get(), dense.value().get()}) {
    Sequence warm(*engine, options.max_batch_tokens);
    if (Status s = warm.Feed(all.first(std::min<size_t>(all.size(), 256)), nullptr, nullptr); !s.ok()) return s;
  }
  const EngineStats before = sparse.value()->stats();
  Sequence sequence(*sparse.value(), options.max_batch_tokens);
  if (Status s = sequence.Feed(all, nullptr, nullptr); !s.ok()) return s;
  const EngineStats after = sparse.value()->stats();

  const auto blocks = static_cast<uint32_t>(all.size() / kBlockTokens);
  const bool sampled = sample > 0 && sample < blocks;
  const uint64_t start = dense.value()->stats().attention_ns;
  Sequence walk(*dense.value(), options.max_batch_tokens);
  if (!sampled) {
    if (Status s = walk.Feed(all, nullptr, nullptr); !s.ok()) return s;
  } else {
    // Query blocks at the middles of equal parts stand for all: dense cost is linear in the position.
    if (Status s = CopyKv(*sparse.value(), *dense.value(), all.size()); !s.ok()) return s;
    for (uint32_t i = 0; i < sample; ++i) {
      const auto block = static_cast<uint32_t>((2 * uint64_t{i} + 1) * blocks / (2 * sample));
      walk.Rewind(block * kBlockTokens);
      if (Status s = walk.Feed(all.subspan(size_t{block} * kBlockTokens, kBlockTokens), nullptr, nullptr); !s.ok()) return s;
    }
  }
  double dense_ms = Milliseconds(dense.value()->stats().attention_ns - start);
  if (sampled) dense_ms *= static_cast<double>(blocks) / sample;
  const uint32_t threads = options.threads > 0 ? options.threads : std::thread::hardware_concurrency();
  const double sparse_ms = Milliseconds(after.attention_ns - before.attention_ns);
  const auto share = [&](uint64_t entries) {
    return after.causal_entries ? static_cast<double>(entries) / static_cast<double>(after.causal_entries) : 0.0;
  };
  const double n = static_cast<double>(all.size()), causal = n * (n + 1) / 2;
  const ModelInfo& m = sparse.value()->info();
  // Density of the whole prefill, its dense rows included.
  const double sparse_share = static_cast<double>(after.causal_entries) / (causal * m.layers * m.heads);
  JsonLine()
      .Add("bench", "sparse_prefill")
      .Add("model", m.name)
      .Add("data", data)
      .Add("n", static_cast<uint64_t>(all.size()))
      .Add("policy", policy)
      .Add("dense_ms", dense_ms, 2)
      .Add("sparse_ms", sparse_ms, 2)
      .Add("index_ms", Milliseconds(after.sparse_select_ns - before.sparse_select_ns) / threads, 2)
      .Add("density", 1.0 - sparse_share * (1.0 - share(after.computed_entries)), 5)
      .Add("scanned", sparse_share * share(after.scanned_entries), 5)
      .Add("ratio", dense_ms / sparse_ms, 2)
      .Add("dense_blocks_timed", sampled ? sample : blocks)
      .Add("threads", threads)
      .Add("batch", options.max_batch_tokens)
      .Add("isa", m.numerics)
      .Print();
  return Status::Ok();
}

}  // namespace longshore::cli
