#include <algorithm>
#include <cstring>
#include <ctime>

#include "cli/commands.h"
#include "cli/json_line.h"
#include "cli/sequence.h"
#include "engine/kv/codec.h"
#include "engine/kv/transfer.h"

namespace longshore::cli {
namespace {

// Seconds of this thread, without those in which other processes had its core.
double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Raw KV of complete blocks: [layer][block], block 0 the chain's first.
struct Kv {
  KvShape shape;
  uint32_t blocks = 0, layers = 0;
  std::vector<uint8_t> bytes;

  size_t block_bytes() const { return shape.RawBytes(kBlockTokens); }
  std::span<const uint8_t> Block(uint32_t layer, uint32_t block) const {
    return std::span(bytes).subspan((size_t{layer} * blocks + block) * block_bytes(), block_bytes());
  }
};

Result<Kv> Prefill(const EngineOptions& options, std::span<const uint32_t> tokens) {
  const auto blocks = static_cast<uint32_t>(tokens.size() / kBlockTokens);
  if (blocks == 0) return Status{Code::kInvalidArgument, "bench-codec needs at least 128 tokens"};
  auto engine = OpenFor(options, tokens.size());
  if (!engine.ok()) return engine.status();
  Sequence sequence(*engine.value(), options.max_batch_tokens);
  if (Status status = sequence.Feed(tokens.first(size_t{blocks} * kBlockTokens), nullptr, nullptr); !status.ok()) return status;
  const ModelInfo& info = engine.value()->info();
  Kv kv{ShapeOf(info, options.kv_dtype), blocks, info.layers, {}};
  kv.bytes.resize(kv.block_bytes() * blocks * kv.layers);
  for (uint32_t layer = 0; layer < kv.layers; layer++) {
    for (uint32_t block = 0; block < blocks; block++) {
      const auto raw = std::span(kv.bytes).subspan((size_t{layer} * blocks + block) * kv.block_bytes(), kv.block_bytes());
      if (Status status = engine.value()->ReadBlock(block, layer, kBlockTokens, raw); !status.ok()) return status;
    }
  }
  return kv;
}

struct Round {
  double encode_seconds = 0, decode_seconds = 0;
  uint64_t stored_bytes = 0;
  bool bit_equal = true, decoded = true;
};

// Encodes and decodes everything once, a layer at a time as the store does.
Round Run(const Kv& kv, KvCodec codec, const CodecKernels& kernels) {
  const size_t raw_bytes = kv.block_bytes();
  std::vector<uint8_t> scratch(CodecScratchBytes(codec, kv.shape)), back(raw_bytes);
  std::vector<uint8_t> section(kv.blocks * std::max(raw_bytes, MostBlockBytes(codec, kv.shape, kBlockTokens)) + 64);
  std::vector<size_t> ends(kv.blocks + 1);
  Round round;
  for (uint32_t layer = 0; layer < kv.layers; layer++) {
    const double start = ThreadSeconds();
    for (uint32_t b = 0; b < kv.blocks; b++) {
      const KvCodec own = BlockCodec(codec, 0, b);
      const auto room = std::span(section).subspan(ends[b], MostBlockBytes(own, kv.shape, kBlockTokens));
      ends[b + 1] = ends[b] + EncodeBlock(own, kv.shape, kBlockTokens, kv.Block(layer, b), room, scratch, kernels);
    }
    const double encoded = ThreadSeconds();
    double comparing = 0;
    for (uint32_t b = 0; b < kv.blocks; b++) {
      const auto stored = std::span(section).subspan(ends[b], ends[b + 1] - ends[b]);
      round.decoded &= DecodeBlock(BlockCodec(codec, 0, b), kv.shape, kBlockTokens, stored, back, scratch, kernels);
      const double decoded = ThreadSeconds();
      round.bit_equal &= std::memcmp(back.data(), kv.Block(layer, b).data(), raw_bytes) == 0;
      comparing += ThreadSeconds() - decoded;
    }
    round.encode_seconds += encoded - start;
    round.decode_seconds += ThreadSeconds() - encoded - comparing;
    round.stored_bytes += ends[kv.blocks];
  }
  return round;
}

Status Measure(const Kv& kv, const char* name, const CodecKernels& kernels, uint64_t repeats) {
  const auto codec = KvCodecNamed(name);
  if (!codec) return {Code::kInvalidArgument, std::string("no codec is named ") + name};
  Run(kv, *codec, kernels);  // touches the memory
  std::vector<double> encode, decode;
  Round last;
  for (uint64_t i = 0; i < repeats; i++) {
    last = Run(kv, *codec, kernels);
    encode.push_back(last.encode_seconds);
    decode.push_back(last.decode_seconds);
  }
  if (!last.decoded) return {Code::kCorrupt, std::string(name) + " does not decode what it encoded"};
  const auto raw = static_cast<double>(kv.bytes.size());
  JsonLine()
      .Add("bench", "codec")
      .Add("codec", name)
      .Add("isa", kernels.isa)
      .Add("tokens", kv.blocks * kBlockTokens)
      .Add("raw_bytes", static_cast<uint64_t>(kv.bytes.size()))
      .Add("stored_bytes", last.stored_bytes)
      .Add("ratio", raw / static_cast<double>(last.stored_bytes), 3)
      .Add("encode_gbps_per_core", raw / Median(encode) / 1e9, 2)
      .Add("decode_gbps_per_core", raw / Median(decode) / 1e9, 2)
      .Add("bit_equal", last.bit_equal ? "yes" : "no")
      .Add("repeats", repeats)
      .Print();
  return Status::Ok();
}

}  // namespace

Status BenchCodec(Arguments& arguments) {
  const EngineOptions options = ReadEngineOptions(arguments);
  const std::string source = arguments.Text("tokens");
  const uint64_t repeats = std::max<uint64_t>(1, arguments.Integer("repeat", 5, 1000));
  if (Status status = arguments.Finish(); !status.ok()) return status;
  const auto tokens = ReadTokens(source);
  if (!tokens.ok()) return tokens.status();
  const auto kv = Prefill(options, tokens.value());
  if (!kv.ok()) return kv.status();
  for (const char* isa : {"avx512", "avx2", "portable"}) {
    const CodecKernels* const kernels = SelectCodecKernels(isa);
    if (kernels == nullptr) continue;
    for (const char* codec : {"raw", "lossless", "int8", "int4"}) {
      if (Status status = Measure(kv.value(), codec, *kernels, repeats); !status.ok()) return status;
    }
  }
  return Status::Ok();
}

}  // namespace longshore::cli
