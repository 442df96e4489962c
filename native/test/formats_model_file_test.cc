#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/formats/dequantize.h"
#include "engine/formats/digest.h"
#include "engine/formats/weights.h"
#include "engine/kv/sha256.h"
#include "test/check.h"
#include "test/golden_files.h"

using namespace longshore;
namespace fs = std::filesystem;

namespace {

std::string Tiny(const std::string& name) { return test::GoldenPath("tiny/" + name); }

// A folder that the test may write to, removed at its end.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (fs::temp_directory_path() / "longshore-formats-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data()) != nullptr ? pattern : "";
  }
  ~ScratchFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::vector<float> Row(const Tensor& tensor, uint64_t row) {
  std::vector<float> out(tensor.cols());
  DequantizeRow(tensor.dtype, tensor.row(row), out.data(), out.size());
  return out;
}

std::string DigestOf(const std::vector<std::string>& files) {
  Sha256 hash;
  for (const std::string& file : files) hash.Update(test::ReadFileBytes(file));
  return "sha256:" + Hex(hash.Finish());
}

}  // namespace

TEST(opens_every_tiny_folder_with_its_hyperparameters) {
  const struct {
    const char *name, *family, *format;
    uint32_t head_dim, kv_heads;
    bool tied, qkv_bias, qk_norm;
    RopeScalingKind scaling;
  } cases[] = {
      {"llama", "llama", "safetensors:bf16", 16, 2, true, false, false, RopeScalingKind::kNone},
      {"llama-linear", "llama", "safetensors:f32", 16, 2, true, false, false, RopeScalingKind::kLinear},
      {"llama-llama3", "llama", "safetensors:bf16", 16, 2, true, false, false, RopeScalingKind::kLlama3},
      {"llama-yarn", "llama", "safetensors:bf16", 16, 2, true, false, false, RopeScalingKind::kYarn},
      {"mistral-untied", "llama", "safetensors:f16", 16, 1, false, false, false, RopeScalingKind::kNone},
      {"qwen2-sharded", "qwen2", "safetensors:bf16", 16, 2, false, true, false, RopeScalingKind::kNone},
      {"qwen3", "qwen3", "safetensors:bf16", 32, 2, true, false, true, RopeScalingKind::kNone},
      {"gemma3", "gemma3", "safetensors:bf16", 32, 1, true, false, true, RopeScalingKind::kNone},
      {"gemma3-scaled", "gemma3", "safetensors:f32", 32, 1, true, false, true, RopeScalingKind::kLinear},
  };
  for (const auto& c : cases) {
    Result<std::unique_ptr<ModelFile>> file = ModelFile::Open(Tiny(c.name));
    CHECK_OK(file);
    REQUIRE(file.ok());
    const Hyperparameters& h = file.value()->hyperparameters();
    CHECK_EQ(file.value()->family(), std::string(c.family));
    CHECK_EQ(file.value()->format(), std::string(c.format));
    CHECK_EQ(h.name, std::string(c.name));
    CHECK_EQ(h.head_dim, c.head_dim);
    CHECK_EQ(h.kv_heads, c.kv_heads);
    CHECK_EQ(h.tied_embeddings, c.tied);
    CHECK_EQ(h.qkv_bias, c.qkv_bias);
    CHECK_EQ(h.qk_norm, c.qk_norm);
    CHECK(h.rope_scaling.kind == c.scaling);
    CHECK(h.rope_layout == RopeLayout::kHalfSplit);
    CHECK(h.eos_ids == std::vector<uint32_t>{2});
    for (const char* name : {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight"}) CHECK_OK(file.value()->Require(name));
    CHECK_EQ(file.value()->Find("output.weight") == nullptr, c.tied);
    CHECK(file.value()->Require("blk.9.attn_q.weight").status().code() == Code::kCorrupt);
  }
}

TEST(a_gguf_twin_holds_the_same_weights_in_interleaved_order) {
  Result<std::unique_ptr<ModelFile>> hf = ModelFile::Open(Tiny("llama")), gguf = ModelFile::Open(Tiny("llama.gguf"));
  REQUIRE(hf.ok() && gguf.ok());
  CHECK_EQ(gguf.value()->format(), std::string("gguf:BF16"));
  CHECK(gguf.value()->hyperparameters().rope_layout == RopeLayout::kInterleaved);
  CHECK_EQ(gguf.value()->tensors().size(), hf.value()->tensors().size());
  for (const Tensor& a : hf.value()->tensors()) {
    const Tensor* b = gguf.value()->Find(a.name);
    REQUIRE(b != nullptr && a.shape == b->shape);
    const bool permuted = a.name.ends_with("attn_q.weight") || a.name.ends_with("attn_k.weight");
    for (uint64_t r = 0; r < a.rows(); ++r) {
      // Channel c of a 16-channel head: pairs (i, i + 8) become (2i, 2i + 1).
      const uint64_t channel = r % 16, twin = permuted ? r - channel + 2 * (channel % 8) + channel / 8 : r;
      CHECK(Row(a, r) == Row(*b, twin));
    }
  }
  const Metadata& metadata = gguf.value()->metadata();
  const auto tokens = metadata.find("tokenizer.ggml.tokens");
  REQUIRE(tokens != metadata.end());
  const auto* texts = std::get_if<std::vector<std::string_view>>(&tokens->second);
  REQUIRE(texts != nullptr && texts->size() == 160);
  CHECK_EQ((*texts)[159], std::string_view("t159"));
}

TEST(reads_every_quantized_type_of_one_file) {
  Result<std::unique_ptr<ModelFile>> file = ModelFile::Open(Tiny("llama-quantized.gguf"));
  REQUIRE(file.ok());
  const std::pair<const char*, DType> expected[] = {
      {"blk.0.attn_q.weight", DType::kQ4_K},      {"blk.0.attn_k.weight", DType::kQ5_K},   {"blk.0.attn_v.weight", DType::kQ6_K},
      {"blk.0.attn_output.weight", DType::kQ5_0}, {"blk.0.ffn_gate.weight", DType::kQ5_1}, {"blk.0.ffn_up.weight", DType::kQ4_0},
      {"blk.0.ffn_down.weight", DType::kQ4_1},    {"token_embd.weight", DType::kQ8_0},     {"output.weight", DType::kF16},
  };
  for (const auto& [name, dtype] : expected) {
    const Tensor* tensor = file.value()->Find(name);
    REQUIRE(tensor != nullptr);
    CHECK(tensor->dtype == dtype);
    double sum = 0;
    for (float w : Row(*tensor, tensor->rows() - 1)) sum += static_cast<double>(w) * w;
    CHECK(sum > 0 && sum < 100 * static_cast<double>(tensor->cols()));
  }
}

TEST(the_digest_is_that_of_the_files_bytes_in_name_order) {
  Result<std::unique_ptr<ModelFile>> gguf = ModelFile::Open(Tiny("llama.gguf")), sharded = ModelFile::Open(Tiny("qwen2-sharded"));
  REQUIRE(gguf.ok() && sharded.ok());
  CHECK_EQ(gguf.value()->WeightsDigest().value(), DigestOf({Tiny("llama.gguf")}));
  CHECK_EQ(sharded.value()->WeightsDigest().value(),
           DigestOf({Tiny("qwen2-sharded/model-00001-of-00002.safetensors"), Tiny("qwen2-sharded/model-00002-of-00002.safetensors")}));
  CHECK(!fs::exists(Tiny("llama.gguf.sha256")));
}

TEST(a_remembered_digest_counts_only_while_the_file_is_unchanged) {
  ScratchFolder scratch;
  const std::string path = scratch / "big.gguf";
  std::ofstream(path, std::ios::binary) << std::string(17 << 20, 'a');
  const std::vector<std::string> files{path};
  const std::string first = DigestWeightFiles(files).value();
  CHECK_EQ(first, DigestOf(files));
  REQUIRE(fs::exists(path + ".sha256"));
  CHECK_EQ(DigestWeightFiles(files).value(), first);

  std::string memory(reinterpret_cast<const char*>(test::ReadFileBytes(path + ".sha256").data()), 71);
  CHECK_EQ(memory, first);
  // A memory of another state, or one that somebody damaged, is not believed.
  std::ofstream(path, std::ios::binary | std::ios::app) << "b";
  CHECK_EQ(DigestWeightFiles(files).value(), DigestOf(files));
  CHECK(DigestWeightFiles(files).value() != first);
  std::ofstream(path + ".sha256", std::ios::binary) << "sha256:zz\n";
  CHECK_EQ(DigestWeightFiles(files).value(), DigestOf(files));
}

TEST(missing_and_mistaken_paths_say_what_to_give) {
  CHECK(ModelFile::Open("/nonexistent/model.gguf").status().code() == Code::kNotFound);
  CHECK(ModelFile::Open(Tiny("")).status().code() == Code::kNotFound);
  CHECK(ModelFile::Open(Tiny("llama/model.safetensors")).status().code() == Code::kInvalidArgument);
  CHECK(ModelFile::Open(Tiny("llama/config.json")).status().code() == Code::kCorrupt);
  ScratchFolder scratch;
  fs::copy(Tiny("qwen2-sharded"), scratch / "m");
  fs::remove(scratch / "m/model-00002-of-00002.safetensors");
  CHECK(ModelFile::Open(scratch / "m").status().code() == Code::kNotFound);
}

TEST(a_folder_whose_weights_contradict_its_configuration_is_refused) {
  ScratchFolder scratch;
  fs::copy(Tiny("llama"), scratch / "m");
  std::string config(reinterpret_cast<const char*>(test::ReadFileBytes(scratch / "m/config.json").data()), fs::file_size(scratch / "m/config.json"));
  const size_t at = config.find("\"hidden_size\": 64");
  REQUIRE(at != std::string::npos);
  config.replace(at, 17, "\"hidden_size\": 60");
  std::ofstream(scratch / "m/config.json") << config;
  const Status status = ModelFile::Open(scratch / "m").status();
  CHECK(status.code() == Code::kCorrupt);
  CHECK(status.message().find("shape") != std::string::npos);
}

TEST(copies_tensors_that_a_file_stores_unaligned) {
  ScratchFolder scratch;
  fs::copy(Tiny("llama-linear"), scratch / "m");
  const std::string path = scratch / "m/model.safetensors";
  std::vector<uint8_t> bytes = test::ReadFileBytes(path);
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  // One more space at the header's end shifts every tensor by a byte.
  bytes.insert(bytes.begin() + 8 + static_cast<std::ptrdiff_t>(header), ' ');
  header += 1;
  std::memcpy(bytes.data(), &header, 8);
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  Result<std::unique_ptr<ModelFile>> shifted = ModelFile::Open(scratch / "m"), original = ModelFile::Open(Tiny("llama-linear"));
  REQUIRE(shifted.ok() && original.ok());
  for (const Tensor& tensor : shifted.value()->tensors()) {
    CHECK_EQ(reinterpret_cast<uintptr_t>(tensor.data) % 4, uintptr_t{0});
    const Tensor* twin = original.value()->Find(tensor.name);
    REQUIRE(twin != nullptr && twin->bytes == tensor.bytes);
    CHECK(std::memcmp(twin->data, tensor.data, tensor.bytes) == 0);
  }
}

TEST_MAIN
