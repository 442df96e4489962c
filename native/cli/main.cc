// longshore-native: the engine for machines without Node.
#include <cstdio>
#include <exception>
#include <string>

#include "cli/commands.h"

namespace {

constexpr const char* kUsage = R"(usage: longshore-native <command> --model <file.gguf or folder> [options]

  info                                            what the model is, one JSON object
  generate --tokens <ids, file or -> [--max 48]   continues a prompt of token ids until an end token; [--ignore-eos]
           [--temperature 0 --top-k 0 --top-p 1 --min-p 0 --repetition-penalty 1 --presence-penalty 0
            --frequency-penalty 0 --seed 0]
  bench    [--prefill 512,2048] [--decode 64] [--repeat 3] [--run-length 1]
                                                  tokens per second: prompts of these lengths, then decoding after each. The prompt is runs of
                                                  equal tokens; on a card, --model may be random:llama-3-8b[,layers=n][,seed=n][,query_scale=x]
  bench-prefill-attention --tokens <ids, file or -> --policy <name or file> [--dense-sample 0]
                                                  attention of a prefill under a policy against dense attention, timed whole
                                                  or on so many query blocks and scaled
  bench-codec --tokens <ids, file or -> [--repeat 5]
                                                  every codec on the KV of these tokens: size, and speed of one thread by its own CPU time
  eval     --perplexity <ids, file or ->          mean negative log-likelihood of the tokens
           --retrieval <file.jsonl>               exact greedy answers to {"prompt_ids": [...], "answer_ids": [...]} lines
  decode   --context <ids, file or -> --questions <file.jsonl>
                                                  asks each question after the context, token by token, with dense decode and with the
                                                  decode policy: answers, bytes read, time of attention; [--measure] the mass kept;
                                                  [--restored] decodes KV that another engine computed
  attention-mass --context <ids, file or -> --questions <file.jsonl> [--keys 100,300,1000,3000,10000]
                                                  mass that the questions' tokens give to so many keys, chosen for each query or once for all
  logits   --tokens <ids, file or -> --out <file>  raw f32 logits after each token

every command: [--threads 0 (all)] [--batch 1024] [--kv bf16|f32] [--isa auto|portable|avx2|avx512] [--exact] [--backend auto|cpu|cuda]
               [--policy dense (a built-in name or a policy file)]
               [--decode-policy dense|sketch_topk|block_topk|graph] [--decode-min 8192] [--rescore 0.005] [--keep 0.99] [--blocks 0.02]
               [--beam 64] [--scan 0.05] [--sample 16] [--nearest 32] [--degree 32]
)";

}  // namespace

int main(int argc, char** argv) {
  using namespace longshore;
  const std::string command = argc > 1 ? argv[1] : "";
  Status (*run)(cli::Arguments&) = command == "info"       ? cli::Info
                                   : command == "generate" ? cli::Generate
                                   : command == "bench"    ? cli::Bench
                                   : command == "eval"     ? cli::Evaluate
                                   : command == "bench-prefill-attention" ? cli::BenchPrefillAttention
                                   : command == "bench-codec" ? cli::BenchCodec
                                   : command == "decode"   ? cli::Decode
                                   : command == "attention-mass" ? cli::AttentionMass
                                   : command == "logits"   ? cli::Logits
                                                           : nullptr;
  if (run == nullptr) {
    std::fputs(kUsage, command == "help" || command == "--help" ? stdout : stderr);
    return command == "help" || command == "--help" ? 0 : 2;
  }
  Result<cli::Arguments> arguments = cli::Arguments::Parse(argc, argv);
  Status status = arguments.status();
  try {
    if (status.ok()) status = run(arguments.value());
  } catch (const std::exception& error) {
    status = {Code::kOutOfMemory, error.what()};
  }
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s: %s\n", CodeName(status.code()), status.message().c_str());
  return status.code() == Code::kInvalidArgument ? 2 : 1;
}
