// Replays the fuzzers' corpora with truncations, bit flips and absurd numbers, without libFuzzer; CI runs it under ASan and UBSan.
// Inputs sit in buffers of exactly their size, and the heap's peak is watched.
#ifdef __APPLE__
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <new>
#include <random>

#include "fuzz/targets.h"
#include "test/check.h"
#include "test/golden_files.h"

using namespace longshore;
namespace fs = std::filesystem;

namespace {

// Bytes that operator new has handed out and not yet taken back, and their peak.
std::atomic<size_t> live_bytes{0}, peak_bytes{0};

size_t SizeOf(void* p) {
#ifdef __APPLE__
  return malloc_size(p);
#else
  return malloc_usable_size(p);
#endif
}

void* CountedAllocate(size_t size) {
  void* p = std::malloc(size);
  if (p == nullptr) return nullptr;
  const size_t live = live_bytes += SizeOf(p);
  size_t peak = peak_bytes;
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live)) {
  }
  return p;
}

void CountedFree(void* p) {
  if (p == nullptr) return;
  live_bytes -= SizeOf(p);
  std::free(p);
}

}  // namespace

void* operator new(size_t size) {
  void* p = CountedAllocate(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return CountedAllocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return CountedAllocate(size); }
void operator delete(void* p) noexcept { CountedFree(p); }
void operator delete[](void* p) noexcept { CountedFree(p); }
void operator delete(void* p, size_t) noexcept { CountedFree(p); }
void operator delete[](void* p, size_t) noexcept { CountedFree(p); }

namespace {

using Bytes = std::vector<uint8_t>;
using Target = std::function<void(std::span<const uint8_t>)>;

struct Campaign {
  Target target;
  std::vector<Bytes> seeds;
  size_t bytes_per_input_byte;  // heap that the reader may use, besides 1 MB
  size_t runs = 0;

  // In a buffer of exactly the input's size, so that the first byte read beyond it is a fault.
  void Run(std::span<const uint8_t> input) {
    auto* exact = static_cast<uint8_t*>(std::malloc(std::max<size_t>(input.size(), 1)));
    std::copy(input.begin(), input.end(), exact);
    peak_bytes = live_bytes.load();
    const size_t before = peak_bytes;
    target({exact, input.size()});
    const size_t used = peak_bytes - before, allowed = (1 << 20) + bytes_per_input_byte * input.size();
    if (used > allowed) test::Fail(__FILE__, __LINE__, "an input of " + std::to_string(input.size()) + " bytes made the reader allocate " + std::to_string(used));
    std::free(exact);
    runs++;
  }
};

std::vector<Bytes> SeedsIn(const std::string& folder) {
  std::vector<Bytes> seeds;
  std::vector<fs::path> paths;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".md" && !(entry.path().filename() == "expected.json")) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) seeds.push_back(test::ReadFileBytes(path.string()));
  return seeds;
}

std::string Corpus(const std::string& name) { return test::RepositoryRoot() + "/native/fuzz/corpus/" + name; }

// Sizes and offsets that readers trip over.
uint64_t AbsurdNumber(std::mt19937_64& random) {
  constexpr uint64_t kNumbers[] = {0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000, 1ull << 40, INT64_MAX, 1ull << 63, UINT64_MAX - 31, UINT64_MAX};
  return kNumbers[random() % std::size(kNumbers)];
}

void Mutate(Bytes* bytes, std::mt19937_64& random) {
  if (bytes->empty()) return;
  // Structure sits in front: half of the mutations aim at the first 2 KB.
  const auto place = [&] { return random() % (random() % 2 == 0 ? std::min<size_t>(bytes->size(), 2048) : bytes->size()); };
  switch (random() % 4) {
    case 0:
      for (size_t i = random() % 8 + 1; i > 0; --i) (*bytes)[place()] ^= static_cast<uint8_t>(1 << random() % 8);
      break;
    case 1: {
      const uint64_t number = AbsurdNumber(random);
      const size_t at = place(), width = std::min<size_t>(random() % 2 == 0 ? 4 : 8, bytes->size() - at);
      std::memcpy(bytes->data() + at, &number, width);
      break;
    }
    case 2: {
      // A piece copied over another place.
      const size_t from = place(), to = place(), length = std::min({random() % 64 + 1, bytes->size() - from, bytes->size() - to});
      std::memmove(bytes->data() + to, bytes->data() + from, length);
      break;
    }
    default: {
      const size_t at = place();
      bytes->erase(bytes->begin() + static_cast<std::ptrdiff_t>(at), bytes->begin() + static_cast<std::ptrdiff_t>(at + std::min<size_t>(random() % 16 + 1, bytes->size() - at)));
    }
  }
}

void Attack(Campaign campaign, size_t mutations_per_seed) {
  REQUIRE(!campaign.seeds.empty());
  std::mt19937_64 random(20240611);
  campaign.Run({});
  for (const Bytes& seed : campaign.seeds) {
    REQUIRE(!seed.empty());
    campaign.Run(seed);
    const size_t step = std::max<size_t>(1, seed.size() / 600);
    for (size_t length = 0; length < seed.size(); length += length < 600 ? 1 : step) campaign.Run(std::span(seed).first(length));
    for (size_t i = 0; i < mutations_per_seed; ++i) {
      Bytes mutated = seed;
      for (size_t n = random() % 3 + 1; n > 0; --n) Mutate(&mutated, random);
      campaign.Run(mutated);
    }
  }
  std::printf("     %zu inputs\n", campaign.runs);
}

}  // namespace

TEST(hostile_gguf_files_get_typed_errors_within_bounded_memory) { Attack({fuzz::Gguf, SeedsIn(Corpus("gguf")), 24}, 3000); }

TEST(hostile_safetensors_files_get_typed_errors_within_bounded_memory) { Attack({fuzz::Safetensors, SeedsIn(Corpus("safetensors")), 80}, 4000); }

TEST(hostile_json_gets_typed_errors_within_bounded_memory) { Attack({fuzz::Json, SeedsIn(Corpus("json")), 160}, 2000); }

TEST(hostile_hf_models_get_typed_errors_within_bounded_memory) { Attack({fuzz::HfModel, SeedsIn(Corpus("hf_model")), 80}, 2000); }

TEST(hostile_kv_objects_get_typed_errors_within_bounded_memory) { Attack({fuzz::KvObject, SeedsIn(test::GoldenPath("kv-object")), 16}, 800); }

TEST(the_seeds_themselves_are_accepted) {
  for (const Bytes& seed : SeedsIn(Corpus("gguf"))) CHECK_OK(ReadGgufModel(seed));
  for (const Bytes& seed : SeedsIn(Corpus("safetensors"))) CHECK_OK(ParseSafetensors(seed));
  for (const Bytes& seed : SeedsIn(test::GoldenPath("kv-object"))) CHECK_OK(ParseKvObject(seed));
  CHECK(SeedsIn(Corpus("gguf")).size() >= 3);
}

TEST(a_small_file_that_claims_to_be_huge_is_refused_before_anything_is_allocated) {
  Bytes file = {'G', 'G', 'U', 'F', 3, 0, 0, 0};
  const auto put = [&](uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) file.push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  put(0, 8);
  put(1, 8);
  put(1, 8);
  file.push_back('k');
  put(9, 4);           // array
  put(8, 4);           // of strings
  put(1ull << 60, 8);  // so many of them
  peak_bytes = live_bytes.load();
  const size_t before = peak_bytes;
  CHECK(ParseGguf(file).status().code() == Code::kCorrupt);
  CHECK(peak_bytes - before < 4096);

  Bytes tensors(8, 0xFF);
  CHECK(ParseSafetensors(tensors).status().code() == Code::kCorrupt);
}

TEST(deeply_nested_metadata_is_refused) {
  Bytes file = {'G', 'G', 'U', 'F', 3, 0, 0, 0};
  const auto put = [&](uint64_t value, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) file.push_back(static_cast<uint8_t>(value >> 8 * i));
  };
  put(0, 8);
  put(1, 8);
  put(1, 8);
  file.push_back('k');
  put(9, 4);
  for (int i = 0; i < 100000; ++i) {
    put(9, 4);
    put(1, 8);
  }
  CHECK(ParseGguf(file).status().code() == Code::kUnsupported);
}

TEST_MAIN
