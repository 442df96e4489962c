#include "engine/formats/weights.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <new>
#include <utility>

#include "engine/formats/config_json.h"
#include "engine/formats/digest.h"
#include "engine/formats/errors.h"
#include "engine/formats/gguf.h"
#include "engine/formats/hf_model.h"
#include "engine/formats/json.h"
#include "engine/formats/mapped_file.h"
#include "engine/formats/model_contents.h"

namespace longshore {
namespace {

namespace fs = std::filesystem;

class MappedModelFile final : public ModelFile {
 public:
  // `files` in name order; the contents' views point into them.
  MappedModelFile(std::string path, std::vector<std::string> names, std::vector<MappedFile> files, ModelContents contents)
      : files_(std::move(files)), copies_(std::move(contents.copies)) {
    path_ = std::move(path);
    weight_files_ = std::move(names);
    family_ = std::move(contents.family);
    hyperparameters_ = std::move(contents.hyperparameters);
    tensors_ = std::move(contents.tensors);
    metadata_ = std::move(contents.metadata);
    if (hyperparameters_.name.empty()) hyperparameters_.name = fs::path(path_).lexically_normal().stem().string();
    format_ = contents.container + ":" + MainDType(contents.container);
    config_json_ = ConfigJson(family_, hyperparameters_);
  }

 private:
  // Also sums weight_bytes_.
  std::string MainDType(const std::string& container) {
    std::map<DType, uint64_t> bytes;
    for (const Tensor& tensor : tensors_) {
      bytes[tensor.dtype] += tensor.bytes;
      weight_bytes_ += tensor.bytes;
    }
    const auto most = std::max_element(bytes.begin(), bytes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    std::string name = most != bytes.end() ? TraitsOf(most->first).name : "none";
    if (container == "safetensors") std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    return name;
  }

  std::vector<MappedFile> files_;
  std::vector<std::unique_ptr<uint8_t[]>> copies_;
};

std::string_view AsText(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// The shards of a folder: those of the index, else model.safetensors, else the only *.safetensors.
Result<std::vector<std::string>> FindShards(const fs::path& folder) {
  std::error_code error;
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(index, error)) {
    Result<MappedFile> file = MappedFile::Open(index.string());
    if (!file.ok()) return file.status();
    return ReadShardIndex(AsText(file.value()));
  }
  if (fs::exists(folder / "model.safetensors", error)) return std::vector<std::string>{"model.safetensors"};
  std::vector<std::string> found;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::directory_iterator(); it.increment(error)) {
    if (it->path().extension() == ".safetensors") found.push_back(it->path().filename().string());
    if (found.size() > kMaxShards) break;
  }
  if (found.size() == 1) return found;
  if (found.empty()) return Status(Code::kNotFound, folder.string() + " holds no *.safetensors file");
  return Status(Code::kNotFound, folder.string() + " holds several *.safetensors files but no model.safetensors.index.json that says which belong together");
}

Result<std::unique_ptr<ModelFile>> OpenGguf(const std::string& path) {
  Result<MappedFile> file = MappedFile::Open(path);
  if (!file.ok()) return file.status();
  Result<ModelContents> contents = ReadGgufModel(file.value().bytes());
  if (!contents.ok()) return Status(contents.status().code(), path + ": " + contents.status().message());
  std::vector<MappedFile> files;
  files.push_back(std::move(file.value()));
  return std::unique_ptr<ModelFile>(new MappedModelFile(path, {path}, std::move(files), std::move(contents.value())));
}

Result<std::unique_ptr<ModelFile>> OpenFolder(const std::string& path) {
  const fs::path folder(path);
  Result<MappedFile> config = MappedFile::Open((folder / "config.json").string());
  if (!config.ok()) return Status(config.status().code(), path + " is no model folder: " + config.status().message());
  HfFolder input;
  input.config = AsText(config.value());
  Result<MappedFile> generation = MappedFile::Open((folder / "generation_config.json").string());
  if (generation.ok()) input.generation_config = AsText(generation.value());
  else if (generation.status().code() != Code::kNotFound) return generation.status();

  Result<std::vector<std::string>> names = FindShards(folder);
  if (!names.ok()) return names.status();
  std::vector<MappedFile> files;
  std::vector<std::string> paths;
  for (const std::string& name : names.value()) {
    paths.push_back((folder / name).string());
    Result<MappedFile> shard = MappedFile::Open(paths.back());
    if (!shard.ok()) return shard.status();
    input.shards.push_back(shard.value().bytes());
    files.push_back(std::move(shard.value()));
  }
  Result<ModelContents> contents = ReadHfModel(input);
  if (!contents.ok()) return Status(contents.status().code(), path + ": " + contents.status().message());
  return std::unique_ptr<ModelFile>(new MappedModelFile(path, std::move(paths), std::move(files), std::move(contents.value())));
}

Result<std::unique_ptr<ModelFile>> OpenPath(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) return Status(Code::kNotFound, "no model at " + path + "; give a .gguf file or a folder with config.json and *.safetensors");
  if (fs::is_directory(status)) return OpenFolder(path);
  if (fs::path(path).extension() == ".safetensors") {
    return Status(Code::kInvalidArgument, path + " is a part of a model; give the folder with its config.json");
  }
  return OpenGguf(path);
}

}  // namespace

Result<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path) {
  try {
    return OpenPath(path);
  } catch (const std::bad_alloc&) {
    return Status(Code::kOutOfMemory, "no memory for the tensor table and metadata of " + path);
  }
}

const Tensor* ModelFile::Find(std::string_view name) const {
  const auto it = std::lower_bound(tensors_.begin(), tensors_.end(), name, [](const Tensor& t, std::string_view n) { return t.name < n; });
  return it != tensors_.end() && it->name == name ? &*it : nullptr;
}

Result<const Tensor*> ModelFile::Require(std::string_view name) const {
  const Tensor* tensor = Find(name);
  if (tensor == nullptr) return Corrupt(path_ + ": tensor " + Quote(name) + " is missing");
  return tensor;
}

Result<std::string> ModelFile::WeightsDigest() const { return DigestWeightFiles(weight_files_); }

}  // namespace longshore
