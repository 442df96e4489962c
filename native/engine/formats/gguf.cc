#include "engine/formats/gguf.h"

#include <algorithm>
#include <string>

#include "engine/formats/byte_reader.h"
#include "engine/formats/errors.h"
#include "engine/formats/tensor_layout.h"

namespace longshore {
namespace {

constexpr uint64_t kMaxKeyValues = 65536;
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 256;
constexpr uint64_t kDefaultAlignment = 32;

enum ValueType : uint32_t {
  kUint8, kInt8, kUint16, kInt16, kUint32, kInt32, kFloat32, kBool, kString, kArray, kUint64, kInt64, kFloat64,
};

class Parser {
 public:
  explicit Parser(std::span<const uint8_t> bytes)
      : bytes_(bytes), reader_(bytes.first(std::min<uint64_t>(bytes.size(), kMaxGgufHeaderBytes))) {}

  Result<GgufFile> File() {
    uint64_t tensors = 0, key_values = 0;
    if (Status s = Preamble(&tensors, &key_values); !s.ok()) return s;
    for (uint64_t i = 0; i < key_values; ++i) {
      if (Status s = KeyValue(); !s.ok()) return s;
    }
    uint64_t alignment = kDefaultAlignment;
    if (Status s = Alignment(&alignment); !s.ok()) return s;
    for (uint64_t i = 0; i < tensors; ++i) {
      if (Status s = TensorInfo(alignment); !s.ok()) return s;
    }
    if (Status s = PlaceTensors(alignment); !s.ok()) return s;
    return std::move(file_);
  }

 private:
  Status Truncated(const std::string& where) const {
    if (bytes_.size() > kMaxGgufHeaderBytes) return Unsupported("GGUF: the header is larger than 64 MB (while reading " + where + ")");
    return Corrupt("GGUF: the file ends inside " + where + "; it is probably an incomplete download");
  }

  Status Preamble(uint64_t* tensors, uint64_t* key_values) {
    std::string_view magic;
    if (!reader_.ReadView(4, &magic) || magic != "GGUF") return Corrupt("not a GGUF file: it does not start with 'GGUF'");
    uint32_t version = 0;
    if (!reader_.Read(&version)) return Truncated("the version");
    if (version != 2 && version != 3) {
      if ((version & 0xFFFF) == 0) return Unsupported("GGUF: the file is big-endian; convert it to little-endian");
      return Unsupported("GGUF version " + std::to_string(version) + " is not supported; versions 2 and 3 are");
    }
    file_.version = version;
    if (!reader_.Read(tensors) || !reader_.Read(key_values)) return Truncated("the counts");
    if (*tensors > kMaxTensors) return Corrupt("GGUF: absurd tensor count " + std::to_string(*tensors));
    if (*key_values > kMaxKeyValues) return Corrupt("GGUF: absurd key-value count " + std::to_string(*key_values));
    return Status::Ok();
  }

  Status String(uint64_t limit, const std::string& where, std::string_view* out) {
    uint64_t length = 0;
    if (!reader_.Read(&length)) return Truncated(where);
    if (length > limit) return Corrupt("GGUF: absurd length " + std::to_string(length) + " of " + where);
    if (!reader_.ReadView(length, out)) return Truncated(where);
    return Status::Ok();
  }

  Status KeyValue() {
    std::string_view key;
    if (Status s = String(kMaxKeyBytes, "a key", &key); !s.ok()) return s;
    if (key.empty()) return Corrupt("GGUF: an empty key");
    const std::string where = "the value of " + Quote(key);
    uint32_t type = 0;
    if (!reader_.Read(&type)) return Truncated(where);
    MetadataValue value;
    if (Status s = type == kArray ? Array(where, &value) : Scalar(type, where, &value); !s.ok()) return s;
    if (!file_.metadata.emplace(key, std::move(value)).second) return Corrupt("GGUF: key " + Quote(key) + " appears twice");
    return Status::Ok();
  }

  // Reads a T and widens it to W.
  template <typename T, typename W>
  Status Number(const std::string& where, MetadataValue* out) {
    T value{};
    if (!reader_.Read(&value)) return Truncated(where);
    *out = static_cast<W>(value);
    return Status::Ok();
  }

  Status Scalar(uint32_t type, const std::string& where, MetadataValue* out) {
    switch (type) {
      case kUint8: return Number<uint8_t, uint64_t>(where, out);
      case kInt8: return Number<int8_t, int64_t>(where, out);
      case kUint16: return Number<uint16_t, uint64_t>(where, out);
      case kInt16: return Number<int16_t, int64_t>(where, out);
      case kUint32: return Number<uint32_t, uint64_t>(where, out);
      case kInt32: return Number<int32_t, int64_t>(where, out);
      case kUint64: return Number<uint64_t, uint64_t>(where, out);
      case kInt64: return Number<int64_t, int64_t>(where, out);
      case kFloat32: return Number<float, double>(where, out);
      case kFloat64: return Number<double, double>(where, out);
      case kBool: {
        uint8_t value = 0;
        if (!reader_.Read(&value)) return Truncated(where);
        if (value > 1) return Corrupt("GGUF: " + where + " is a boolean that is neither 0 nor 1");
        *out = value == 1;
        return Status::Ok();
      }
      case kString: {
        std::string_view text;
        if (Status s = String(kMaxGgufHeaderBytes, where, &text); !s.ok()) return s;
        *out = text;
        return Status::Ok();
      }
      default: return Corrupt("GGUF: unknown type " + std::to_string(type) + " of " + where);
    }
  }

  template <typename T, typename W>
  Status Numbers(uint64_t count, const std::string& where, MetadataValue* out) {
    if (count > reader_.remaining() / sizeof(T)) return Truncated(where);
    std::vector<W> values(static_cast<size_t>(count));
    for (W& value : values) {
      T element{};
      if (!reader_.Read(&element)) return Truncated(where);
      value = static_cast<W>(element);
    }
    *out = std::move(values);
    return Status::Ok();
  }

  Status Array(const std::string& where, MetadataValue* out) {
    uint32_t type = 0;
    uint64_t count = 0;
    if (!reader_.Read(&type) || !reader_.Read(&count)) return Truncated(where);
    switch (type) {
      case kUint8: return Numbers<uint8_t, uint64_t>(count, where, out);
      case kInt8: return Numbers<int8_t, int64_t>(count, where, out);
      case kUint16: return Numbers<uint16_t, uint64_t>(count, where, out);
      case kInt16: return Numbers<int16_t, int64_t>(count, where, out);
      case kUint32: return Numbers<uint32_t, uint64_t>(count, where, out);
      case kInt32: return Numbers<int32_t, int64_t>(count, where, out);
      case kUint64: return Numbers<uint64_t, uint64_t>(count, where, out);
      case kInt64: return Numbers<int64_t, int64_t>(count, where, out);
      case kFloat32: return Numbers<float, double>(count, where, out);
      case kFloat64: return Numbers<double, double>(count, where, out);
      case kBool: return Numbers<uint8_t, int64_t>(count, where, out);
      case kString: return Strings(count, where, out);
      case kArray: return Unsupported("GGUF: " + where + " is an array of arrays");
      default: return Corrupt("GGUF: unknown element type " + std::to_string(type) + " of " + where);
    }
  }

  Status Strings(uint64_t count, const std::string& where, MetadataValue* out) {
    if (count > reader_.remaining() / sizeof(uint64_t)) return Truncated(where);
    std::vector<std::string_view> values(static_cast<size_t>(count));
    for (std::string_view& value : values) {
      if (Status s = String(kMaxGgufHeaderBytes, where, &value); !s.ok()) return s;
    }
    *out = std::move(values);
    return Status::Ok();
  }

  Status Alignment(uint64_t* alignment) const {
    const auto it = file_.metadata.find("general.alignment");
    if (it == file_.metadata.end()) return Status::Ok();
    const auto* value = std::get_if<uint64_t>(&it->second);
    if (value == nullptr || *value < 8 || *value > 1 << 20 || (*value & (*value - 1)) != 0) {
      return Corrupt("GGUF: general.alignment must be a power of two from 8 to 1048576");
    }
    *alignment = *value;
    return Status::Ok();
  }

  Status TensorInfo(uint64_t alignment) {
    std::string_view name;
    if (Status s = String(kMaxTensorNameBytes, "a tensor name", &name); !s.ok()) return s;
    if (name.empty()) return Corrupt("GGUF: a tensor without a name");
    const std::string where = "the description of tensor " + Quote(name);
    uint32_t dimensions = 0, type = 0;
    if (!reader_.Read(&dimensions)) return Truncated(where);
    if (dimensions < 1 || dimensions > 4) return Corrupt("GGUF: tensor " + Quote(name) + " has " + std::to_string(dimensions) + " dimensions");
    Tensor tensor;
    tensor.name = name;
    tensor.shape.resize(dimensions);
    // GGUF lists the contiguous dimension first.
    for (uint32_t i = dimensions; i-- > 0;) {
      if (!reader_.Read(&tensor.shape[i])) return Truncated(where);
    }
    uint64_t offset = 0;
    if (!reader_.Read(&type) || !reader_.Read(&offset)) return Truncated(where);
    if (FindDTypeTraits(type) == nullptr) {
      return Unsupported("GGUF: tensor " + Quote(name) + " has ggml type " + std::to_string(type) +
                         "; supported are F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
    }
    tensor.dtype = static_cast<DType>(type);
    if (Status s = MeasureTensor(&tensor); !s.ok()) return s;
    if (offset % alignment != 0) return Corrupt("GGUF: tensor " + Quote(name) + " is not aligned to " + std::to_string(alignment));
    file_.tensors.push_back(std::move(tensor));
    offsets_.push_back(offset);
    return Status::Ok();
  }

  Status PlaceTensors(uint64_t alignment) {
    const uint64_t begin = (reader_.position() + alignment - 1) / alignment * alignment;
    const uint64_t size = begin <= bytes_.size() ? bytes_.size() - begin : 0;
    std::span<const uint8_t> data = size > 0 ? bytes_.subspan(begin) : std::span<const uint8_t>();
    return PlaceInside(data, offsets_, file_.tensors);
  }

  std::span<const uint8_t> bytes_;
  ByteReader reader_;
  GgufFile file_;
  std::vector<uint64_t> offsets_;
};

}  // namespace

Result<GgufFile> ParseGguf(std::span<const uint8_t> bytes) { return Parser(bytes).File(); }

}  // namespace longshore
