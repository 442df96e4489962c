#include "engine/formats/safetensors.h"

#include <string>

#include "engine/formats/byte_reader.h"
#include "engine/formats/errors.h"
#include "engine/formats/json.h"
#include "engine/formats/tensor_layout.h"

namespace longshore {
namespace {

Status ReadDType(const std::string& name, const JsonValue& entry, DType* dtype) {
  const JsonValue* value = entry.Find("dtype");
  if (value == nullptr || value->string() == nullptr) return Corrupt("safetensors: tensor " + Quote(name) + " has no dtype");
  const std::string& text = *value->string();
  if (text == "F32") *dtype = DType::kF32;
  else if (text == "F16") *dtype = DType::kF16;
  else if (text == "BF16") *dtype = DType::kBf16;
  else return Unsupported("safetensors: tensor " + Quote(name) + " has dtype " + Quote(text) + "; supported are F32, F16 and BF16");
  return Status::Ok();
}

// A JSON array of non-negative integers.
Status ReadCounts(const std::string& name, const JsonValue& entry, const char* key, size_t max, std::vector<uint64_t>* out) {
  const JsonValue* value = entry.Find(key);
  const std::string what = std::string("safetensors: ") + key + " of tensor " + Quote(name);
  if (value == nullptr || value->array() == nullptr || value->array()->size() > max) return Corrupt(what + " is not a short array");
  for (const JsonValue& item : *value->array()) {
    if (item.integer() == nullptr || *item.integer() < 0) return Corrupt(what + " holds something else than a count");
    out->push_back(static_cast<uint64_t>(*item.integer()));
  }
  return Status::Ok();
}

Status ReadTensor(const std::string& name, const JsonValue& entry, Tensor* tensor, uint64_t* offset) {
  if (name.empty() || name.size() > 256) return Corrupt("safetensors: tensor name " + Quote(name) + " is empty or longer than 256 bytes");
  if (entry.object() == nullptr) return Corrupt("safetensors: tensor " + Quote(name) + " is not described by an object");
  tensor->name = name;
  if (Status s = ReadDType(name, entry, &tensor->dtype); !s.ok()) return s;
  if (Status s = ReadCounts(name, entry, "shape", 8, &tensor->shape); !s.ok()) return s;
  if (tensor->shape.empty()) tensor->shape = {1};
  if (Status s = MeasureTensor(tensor); !s.ok()) return s;
  std::vector<uint64_t> offsets;
  if (Status s = ReadCounts(name, entry, "data_offsets", 2, &offsets); !s.ok()) return s;
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] - offsets[0] != tensor->bytes) {
    return Corrupt("safetensors: data_offsets of tensor " + Quote(name) + " do not match its shape");
  }
  *offset = offsets[0];
  return Status::Ok();
}

}  // namespace

Result<std::vector<Tensor>> ParseSafetensors(std::span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  uint64_t header_bytes = 0;
  std::string_view header_text;
  if (!reader.Read(&header_bytes)) return Corrupt("safetensors: the file is shorter than its length field");
  if (header_bytes > kMaxJsonBytes && header_bytes <= reader.remaining()) return Unsupported("safetensors: the header is larger than 32 MB");
  if (!reader.ReadView(header_bytes, &header_text)) {
    return Corrupt("safetensors: the header does not fit the file; it is damaged, an incomplete download, or a git-lfs pointer");
  }
  Result<JsonValue> header = ParseJson(header_text);
  if (!header.ok()) return Status(header.status().code(), "safetensors header: " + header.status().message());
  const JsonValue::Object* entries = header.value().object();
  if (entries == nullptr) return Corrupt("safetensors: the header is not a JSON object");
  if (entries->size() > kMaxTensors) return Corrupt("safetensors: absurd tensor count " + std::to_string(entries->size()));

  std::vector<Tensor> tensors;
  std::vector<uint64_t> offsets;
  for (const auto& [name, entry] : *entries) {
    if (name == "__metadata__") continue;
    Tensor tensor;
    uint64_t offset = 0;
    if (Status s = ReadTensor(name, entry, &tensor, &offset); !s.ok()) return s;
    tensors.push_back(std::move(tensor));
    offsets.push_back(offset);
  }
  if (Status s = PlaceInside(bytes.subspan(reader.position()), offsets, tensors); !s.ok()) return s;
  return tensors;
}

}  // namespace longshore
