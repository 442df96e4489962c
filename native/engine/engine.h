// The engine's face: open a model, run batch steps over paged KV, move KV blocks in and out, close.
//
// The engine knows physical KV blocks, not requests: the scheduler (TypeScript) owns block tables, eviction and fairness.
// A step is idempotent: it writes the KV of the given tokens at the given positions and reads everything before them,
// so an aborted step is simply submitted again. On the CPU, logits of a sequence are bit-equal whatever it is batched with, however
// its prompt is split over steps, and with any number of threads (batch invariance; docs/ARCHITECTURE.md). A card promises less: the
// same step gives the same bits again (docs/design/0020), so its dense_tokens is 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/decode/decode_policy.h"
#include "engine/measure.h"
#include "engine/status.h"

namespace longshore {

constexpr uint32_t kBlockTokens = 128;  // tokens per KV block: unit of paging, hashing, sparse selection and storage

enum class KvDtype : uint32_t { kBf16 = 1, kF32 = 2 };

struct EngineOptions {
  std::string model_path;           // a .gguf file, or a folder with config.json and *.safetensors
  std::string backend = "auto";     // "cpu", "cuda", or "auto": a card that can serve all that is asked for here, else the CPU
  uint32_t threads = 0;             // 0: the cores this process may use (cores.h)
  uint32_t kv_blocks = 64;          // physical blocks in the pool
  KvDtype kv_dtype = KvDtype::kBf16;
  bool touch_kv = false;            // touch the pool's memory in the background after opening
  uint32_t max_batch_tokens = 1024; // upper bound of tokens in one step (sizes the activation buffers)
  bool exact = false;               // compute in f32 (weights dequantized row by row, f32 activations): the slow obvious twin
  std::string isa = "auto";         // "auto", "portable", "avx2", "avx512": lower than detected only, for tests
  std::string policy = "dense";     // attention of prefill: a built-in name or the path of a policy file (policy/attention_policy.h)
  std::optional<DecodePolicy> decode = {};  // instead of the policy's own; attention of single tokens over long contexts
};

struct ModelInfo {
  std::string family;            // "llama", "qwen2", "qwen3"
  std::string name;              // general.name or folder name
  uint32_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab;
  uint32_t context_length;       // tokens
  std::string weights_digest;    // "sha256:<hex>" over the weight files' bytes (see formats/digest.h); cached beside the file when writable
  std::string config_json;       // canonical JSON (sorted keys, no spaces) of everything that changes the computation
  std::string numerics;          // e.g. "cpu-avx512-1": ISA path and numerics version; equal strings promise bit-equal results
  std::string weights_format;    // e.g. "gguf:Q4_1", "safetensors:bf16"
  uint64_t weight_bytes;
  uint64_t kv_bytes_per_token;   // all layers, K and V
  std::vector<uint32_t> eos_ids; // tokens that end generation
  int32_t bos_id = -1;
  std::string backend;           // what was chosen
  std::string policy_json = {};  // canonical JSON of the attention policy: part of the cache identity
  uint32_t dense_tokens = 0;     // blocks that end at or below have the same bits however they were computed (invariant 1)
};

// Sampling of one next token; all fields have neutral defaults. Applied in this order: repetition, presence and
// frequency penalties, logit bias, temperature, top_k, top_p, min_p.
struct SamplingParams {
  float temperature = 0.f;           // 0: greedy (lowest token id wins ties)
  uint32_t top_k = 0;                // 0: off
  float top_p = 1.f;
  float min_p = 0.f;
  float repetition_penalty = 1.f;
  float presence_penalty = 0.f;
  float frequency_penalty = 0.f;
  uint64_t seed = 0;                 // the draw is a function of (seed, position) only
  uint32_t top_logprobs = 0;         // how many alternatives to report, at most 20
  bool logprobs = false;             // report log-probabilities (of the unmodified softmax at temperature 1)
  std::vector<std::pair<uint32_t, float>> logit_bias = {};  // token id -> added to its logit
  std::vector<uint32_t> banned = {};      // token ids never drawn
};

// One sequence's share of a step.
struct StepItem {
  std::vector<uint32_t> tokens = {};       // new tokens, >= 1
  uint32_t position = 0;              // absolute index of tokens[0]; KV for [0, position) must be present
  std::vector<uint32_t> block_table = {};  // physical block of each 128 positions, covering position + tokens.size()
  bool sample = false;                // draw the token that follows tokens.back()
  SamplingParams sampling = {};
  std::vector<uint32_t> history = {};      // tokens that penalties count; only read when a penalty is on
  bool want_logits = false;           // return logits of every new token (tests, evaluation)
};

struct TokenLogprob { uint32_t id; float logprob; };

struct StepOutput {
  int64_t token = -1;                 // -1 when not sampled
  float logprob = 0.f;                // of the drawn token
  std::vector<TokenLogprob> top;      // best first
  std::vector<float> logits;          // [tokens, vocab] when want_logits
};

// Sums over the query heads of single tokens that a sparse decode policy took. Keys count once per query head; bytes once per KV head,
// and what its query heads read each.
struct DecodeStats {
  uint64_t keys = 0, scanned = 0, rescored = 0, kept = 0;  // visible; by sketch; exactly; with their values
  uint64_t bytes = 0, dense_bytes = 0;                     // of KV and sketches read; that dense attention would read
  double mass_kept = 0;                                    // sum over `measured` heads of the share of the softmax attended
  uint64_t measured = 0;
  uint64_t index_ns = 0, index_bytes = 0;                  // wall time of building key graphs, and what they hold now
};

struct EngineStats {
  uint64_t steps = 0, tokens = 0, aborted_steps = 0;
  uint64_t prefill_ns = 0, decode_ns = 0;        // wall time of steps with any item > 1 token / only single tokens
  DecodeStats decode = {};
  uint64_t kv_pool_bytes = 0, weight_bytes = 0, scratch_bytes = 0;
  uint64_t attention_ns = 0;                     // wall time of attention, selection included, of all steps
  // Of rows under a sparse policy. Thread time of choosing keys and of attending to them; score entries (a query with a key)
  // that dense attention has, that were computed with their values, and that a selection scored without.
  uint64_t sparse_select_ns = 0, sparse_attend_ns = 0;
  uint64_t causal_entries = 0, computed_entries = 0, scanned_entries = 0;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  virtual ~Engine() = default;

  virtual const ModelInfo& info() const = 0;

  // Runs one step. Blocking; one step at a time (a second caller waits). `cancel` is read between tiles (at least every
  // 20 ms): when it becomes non-zero the step returns kCancelled and has had no effect that matters.
  // Errors: kInvalidArgument (token >= vocab, block >= kv_blocks, table too short, context length exceeded, too many tokens).
  virtual Status Step(std::span<const StepItem> items, std::vector<StepOutput>* outputs, const std::atomic<int32_t>* cancel) = 0;

  // The step of one item, unsampled, and beside it what the request's policies do to its attention (several times a step's time).
  // Errors: Step's; those of reading a policy; kUnsupported where the backend does not measure.
  virtual Status Measure(const StepItem& item, const MeasureRequest& request, AttentionMeasures* measures, const std::atomic<int32_t>* cancel) {
    (void)item, (void)request, (void)measures, (void)cancel;
    return {Code::kUnsupported, "this backend does not measure attention: open the model with backend \"cpu\""};
  }

  // Raw KV of one physical block and layer, as stored objects hold it before the codec:
  // [K then V][kv_heads][tokens][head_dim] in the pool's dtype, little-endian; tokens = the first `tokens` of the block.
  // Keys are stored after RoPE. dst/src size must be 2 * kv_heads * tokens * head_dim * sizeof(dtype).
  // Callable from any thread while no step touches that block.
  virtual Status ReadBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<uint8_t> dst) const = 0;
  virtual Status WriteBlock(uint32_t block, uint32_t layer, uint32_t tokens, std::span<const uint8_t> src) = 0;

  virtual EngineStats stats() const = 0;

  // Frees weights and pool after the running step returned. Idempotent; later calls return kClosed.
  virtual void Close() = 0;
};

}  // namespace longshore
