#include "engine/kv/transfer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <new>
#include <string>
#include <thread>

#include "engine/kv/object.h"

namespace longshore {
namespace {

// Runs work(layer) for every layer on up to `threads` threads; the first error stops the rest.
template <typename Work>
Status ForEachLayer(uint32_t layers, uint32_t threads, const Work& work) {
  std::atomic<uint32_t> next{0};
  std::mutex mutex;
  Status first_error;
  const auto drain = [&] {
    for (uint32_t layer; (layer = next.fetch_add(1)) < layers;) {
      Status status = work(layer);
      if (status.ok()) continue;
      next.store(layers);
      const std::lock_guard lock(mutex);
      if (first_error.ok()) first_error = std::move(status);
    }
  };
  std::vector<std::thread> helpers;
  for (uint32_t i = 1; i < std::min(threads, layers); i++) {
    try {
      helpers.emplace_back(drain);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that run do the work
    }
  }
  drain();
  for (std::thread& helper : helpers) helper.join();
  return first_error;
}

std::unique_ptr<uint8_t[]> Allocate(size_t size) { return std::unique_ptr<uint8_t[]>(new (std::nothrow) uint8_t[size]); }

Status OutOfMemory(size_t bytes) { return {Code::kOutOfMemory, "no memory for " + std::to_string(bytes) + " bytes of KV: move fewer blocks at once"}; }

Status CheckShape(const KvShape& shape) {
  if (shape.head_dim <= 1024) return Status::Ok();
  return {Code::kUnsupported, "stored KV: head dimensions above 1024"};
}

// What one thread needs to encode or decode blocks: a raw block and the codec's scratch. Nothing where the codec is raw.
class WorkingMemory {
 public:
  WorkingMemory(KvCodec codec, const KvShape& shape)
      : block_bytes_(codec == KvCodec::kRaw ? 0 : shape.RawBytes(kBlockTokens)), scratch_bytes_(CodecScratchBytes(codec, shape)),
        bytes_(size() == 0 ? nullptr : Allocate(size())) {}

  size_t size() const { return block_bytes_ + scratch_bytes_; }
  bool ok() const { return size() == 0 || bytes_ != nullptr; }
  uint8_t* block() { return bytes_.get(); }
  std::span<uint8_t> scratch() { return {bytes_.get() + block_bytes_, scratch_bytes_}; }

 private:
  size_t block_bytes_, scratch_bytes_;
  std::unique_ptr<uint8_t[]> bytes_;
};

}  // namespace

KvShape ShapeOf(const ModelInfo& info, KvDtype dtype) { return {info.kv_heads, info.head_dim, dtype}; }

uint64_t MostSectionBytes(const KvRange& range, const KvShape& shape) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < range.blocks.size(); i++) {
    bytes += MostBlockBytes(BlockCodec(range.codec, range.first_token, i), shape, range.tokens(i));
  }
  return bytes;
}

Status CheckRange(const KvRange& range, uint32_t kv_blocks) {
  const auto invalid = [](std::string why) { return Status{Code::kInvalidArgument, "KV blocks: " + std::move(why)}; };
  if (range.blocks.empty() || range.blocks.size() > kMaxObjectBlocks) return invalid("between 1 and 4096 of them can move at once");
  if (range.first_token % kBlockTokens != 0) return invalid("the first token must be a multiple of 128");
  if (range.last_tokens < 1 || range.last_tokens > kBlockTokens) return invalid("the last block holds 1 to 128 tokens");
  std::vector<uint32_t> sorted = range.blocks;
  std::sort(sorted.begin(), sorted.end());
  if (sorted.back() >= kv_blocks) return invalid("block " + std::to_string(sorted.back()) + " is outside the pool of " + std::to_string(kv_blocks));
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) return invalid("a block is named twice");
  return Status::Ok();
}

Result<std::vector<Section>> ExportBlocks(const Engine& engine, const KvRange& range, const KvShape& shape, uint32_t threads) {
  if (const Status status = CheckShape(shape); !status.ok()) return status;
  const uint32_t layers = engine.info().layers;
  const uint64_t most = MostSectionBytes(range, shape);
  const CodecKernels& kernels = *SelectCodecKernels("auto");
  std::vector<Section> sections(layers);
  const Status status = ForEachLayer(layers, threads, [&](uint32_t layer) -> Status {
    Section& section = sections[layer];
    // Pages that the encoder leaves untouched cost address space only.
    section = {Allocate(most), 0};
    WorkingMemory memory(range.codec, shape);
    if (!section.data || !memory.ok()) return OutOfMemory(most + memory.size());
    uint8_t* out = section.data.get();
    for (size_t i = 0; i < range.blocks.size(); i++) {
      const uint32_t tokens = range.tokens(i);
      const KvCodec codec = BlockCodec(range.codec, range.first_token, i);
      const size_t raw = shape.RawBytes(tokens);
      uint8_t* const target = codec == KvCodec::kRaw ? out : memory.block();
      if (Status read = engine.ReadBlock(range.blocks[i], layer, tokens, {target, raw}); !read.ok()) return read;
      if (codec == KvCodec::kRaw) out += raw;
      else out += EncodeBlock(codec, shape, tokens, {target, raw}, {out, MostBlockBytes(codec, shape, tokens)}, memory.scratch(), kernels);
    }
    section.size = static_cast<size_t>(out - section.data.get());
    return Status::Ok();
  });
  if (!status.ok()) return status;
  return sections;
}

namespace {

// The blocks of `range` in `section` after `skip` others of the object; empty where the section does not hold them all.
std::span<const uint8_t> BlocksOf(const KvRange& range, uint32_t skip, const KvShape& shape, std::span<const uint8_t> section) {
  const uint32_t object_first = range.first_token - skip * kBlockTokens;
  const size_t end = skip + range.blocks.size();
  size_t from = 0, at = 0;
  for (size_t i = 0; i < end; i++) {
    if (i == skip) from = at;
    const uint32_t tokens = i < skip ? kBlockTokens : range.tokens(i - skip);
    const size_t stored = BlockBytesAt(BlockCodec(range.codec, object_first, i), shape, tokens, section.subspan(at));
    if (stored == 0) return {};
    at += stored;
  }
  return section.subspan(from, at - from);
}

// Decodes and writes one layer's blocks from `in`, which BlocksOf has found.
Status ImportLayer(Engine* engine, const KvRange& range, const KvShape& shape, uint32_t layer, std::span<const uint8_t> in) {
  const CodecKernels& kernels = *SelectCodecKernels("auto");
  WorkingMemory memory(range.codec, shape);
  if (!memory.ok()) return OutOfMemory(memory.size());
  for (size_t i = 0; i < range.blocks.size(); i++) {
    const uint32_t tokens = range.tokens(i);
    const KvCodec codec = BlockCodec(range.codec, range.first_token, i);
    const size_t raw = shape.RawBytes(tokens), stored = BlockBytesAt(codec, shape, tokens, in);
    if (codec != KvCodec::kRaw && !DecodeBlock(codec, shape, tokens, in.first(stored), {memory.block(), raw}, memory.scratch(), kernels)) {
      return {Code::kCorrupt, "KV blocks: block " + std::to_string(i) + " of layer " + std::to_string(layer) + " does not decode"};
    }
    if (Status written = engine->WriteBlock(range.blocks[i], layer, tokens, {codec == KvCodec::kRaw ? in.data() : memory.block(), raw}); !written.ok()) return written;
    in = in.subspan(stored);
  }
  return Status::Ok();
}

Status CheckLayers(size_t sections, uint32_t layers) {
  if (sections == layers) return Status::Ok();
  return {Code::kCorrupt, "KV blocks: " + std::to_string(sections) + " sections for " + std::to_string(layers) + " layers"};
}

}  // namespace

Status ImportBlocks(Engine* engine, const KvRange& range, const KvShape& shape, std::span<const Section> sections, uint32_t threads) {
  if (Status status = CheckShape(shape); !status.ok()) return status;
  const uint32_t layers = engine->info().layers;
  if (Status status = CheckLayers(sections.size(), layers); !status.ok()) return status;
  for (const Section& section : sections) {
    if (section.size == 0 || BlocksOf(range, 0, shape, {section.data.get(), section.size}).size() != section.size) {
      return {Code::kCorrupt, "KV blocks: a section of " + std::to_string(section.size) + " bytes is not the blocks that shape and codec ask for"};
    }
  }
  return ForEachLayer(layers, threads, [&](uint32_t layer) {
    return ImportLayer(engine, range, shape, layer, {sections[layer].data.get(), sections[layer].size});
  });
}

Result<SealedImport> ImportSealed(Engine* engine, const KvRange& range, uint32_t skip, const KvShape& shape, const SealedObject& object,
                                  const SectionCipher& cipher, uint32_t threads) {
  using Clock = std::chrono::steady_clock;
  const auto ms = [](Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::milli>(to - from).count(); };
  if (Status status = CheckShape(shape); !status.ok()) return status;
  const uint32_t layers = engine->info().layers;
  if (Status status = CheckLayers(object.sections.size(), layers); !status.ok()) return status;
  if (range.first_token / kBlockTokens < skip) return Status{Code::kInvalidArgument, "KV blocks: more blocks to skip than lie before the first"};
  const auto begun = Clock::now();
  if (Status opened = ForEachLayer(layers, threads, [&](uint32_t layer) { return OpenSection(cipher, object, layer); }); !opened.ok()) return opened;
  std::vector<std::span<const uint8_t>> blocks(layers);
  for (uint32_t layer = 0; layer < layers; layer++) {
    blocks[layer] = BlocksOf(range, skip, shape, OpenedSection(object, layer));
    if (blocks[layer].empty()) return Status{Code::kCorrupt, "stored KV: a section is shorter than its blocks, or a block's length is not an encoder's"};
  }
  const auto opened = Clock::now();
  if (Status written = ForEachLayer(layers, threads, [&](uint32_t layer) { return ImportLayer(engine, range, shape, layer, blocks[layer]); }); !written.ok()) return written;
  return SealedImport{ms(begun, opened), ms(opened, Clock::now())};
}

}  // namespace longshore
