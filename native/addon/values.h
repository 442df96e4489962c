// JavaScript values to plain structs and back, checked. Part of addon.cc's translation unit, the only one that knows Node.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "addon/tokenizer_metadata.h"
#include "engine/engine.h"
#include "engine/formats/weights.h"
#include "engine/kv/transfer.h"
#include "engine/policy/decode_policy_json.h"

namespace longshore {

// Thrown for an argument that is not what index.ts says; becomes a rejection.
struct Refusal {
  Status status;
};

[[noreturn]] inline void Refuse(std::string why) { throw Refusal{{Code::kInvalidArgument, std::move(why)}}; }

inline bool Absent(const Napi::Value& value) { return value.IsUndefined() || value.IsNull(); }

inline double ReadNumber(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) Refuse(std::string(name) + " must be a number");
  return value.As<Napi::Number>().DoubleValue();
}

inline uint64_t ReadInteger(const Napi::Value& value, const char* name, uint64_t most = UINT32_MAX) {
  const double number = ReadNumber(value, name);
  if (!(number >= 0 && number <= static_cast<double>(most)) || number != std::floor(number)) {
    Refuse(std::string(name) + " must be an integer from 0 to " + std::to_string(most));
  }
  return static_cast<uint64_t>(number);
}

inline std::string ReadString(const Napi::Value& value, const char* name) {
  if (!value.IsString()) Refuse(std::string(name) + " must be a string");
  return value.As<Napi::String>().Utf8Value();
}

inline Napi::Object ReadObject(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) Refuse(std::string(name) + " must be an object");
  return value.As<Napi::Object>();
}

inline Napi::Array ReadArray(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) Refuse(std::string(name) + " must be an array");
  return value.As<Napi::Array>();
}

inline std::vector<uint32_t> ReadU32Array(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    Refuse(std::string(name) + " must be a Uint32Array");
  }
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

template <typename T, typename Read>
void ReadMember(const Napi::Object& object, const char* name, T* out, const Read& read) {
  const Napi::Value value = object.Get(name);
  if (!Absent(value)) *out = static_cast<T>(read(value, name));
}

inline const auto kInteger = [](const Napi::Value& value, const char* name) { return ReadInteger(value, name); };
inline const auto kSeed = [](const Napi::Value& value, const char* name) { return ReadInteger(value, name, (uint64_t{1} << 53) - 1); };
inline const auto kBoolean = [](const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) Refuse(std::string(name) + " must be a boolean");
  return value.As<Napi::Boolean>().Value();
};

inline KvDtype ReadDtype(const Napi::Value& value, const char* name) {
  const std::string text = ReadString(value, name);
  if (text != "bf16" && text != "f32") Refuse(std::string(name) + " must be bf16 or f32");
  return text == "f32" ? KvDtype::kF32 : KvDtype::kBf16;
}

inline EngineOptions ReadOptions(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "options");
  EngineOptions options;
  options.model_path = ReadString(object.Get("model"), "model");
  options.kv_blocks = static_cast<uint32_t>(ReadInteger(object.Get("kvBlocks"), "kvBlocks"));
  ReadMember(object, "backend", &options.backend, ReadString);
  ReadMember(object, "isa", &options.isa, ReadString);
  ReadMember(object, "threads", &options.threads, kInteger);
  ReadMember(object, "kvDtype", &options.kv_dtype, ReadDtype);
  ReadMember(object, "maxBatchTokens", &options.max_batch_tokens, kInteger);
  ReadMember(object, "touchKv", &options.touch_kv, kBoolean);
  ReadMember(object, "exact", &options.exact, kBoolean);
  ReadMember(object, "policy", &options.policy, ReadString);
  if (const Napi::Value decode = object.Get("decodePolicy"); !Absent(decode)) {
    const Result<DecodePolicy> read = ParseDecodePolicy(ReadString(decode, "decodePolicy"));
    if (!read.ok()) Refuse("decodePolicy: " + read.status().message());
    options.decode = read.value();
  }
  return options;
}

inline SamplingParams ReadSampling(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "sampling");
  SamplingParams p;
  ReadMember(object, "temperature", &p.temperature, ReadNumber);
  ReadMember(object, "topK", &p.top_k, kInteger);
  ReadMember(object, "topP", &p.top_p, ReadNumber);
  ReadMember(object, "minP", &p.min_p, ReadNumber);
  ReadMember(object, "repetitionPenalty", &p.repetition_penalty, ReadNumber);
  ReadMember(object, "presencePenalty", &p.presence_penalty, ReadNumber);
  ReadMember(object, "frequencyPenalty", &p.frequency_penalty, ReadNumber);
  ReadMember(object, "seed", &p.seed, kSeed);
  ReadMember(object, "logprobs", &p.logprobs, kBoolean);
  ReadMember(object, "topLogprobs", &p.top_logprobs, kInteger);
  if (const Napi::Value bias = object.Get("logitBias"); !Absent(bias)) {
    const Napi::Array pairs = ReadArray(bias, "logitBias");
    for (uint32_t i = 0; i < pairs.Length(); i++) {
      const Napi::Array pair = ReadArray(pairs.Get(i), "logitBias entry");
      p.logit_bias.emplace_back(ReadInteger(pair.Get(0u), "logitBias token"), ReadNumber(pair.Get(1u), "logitBias value"));
    }
  }
  if (const Napi::Value banned = object.Get("banned"); !Absent(banned)) {
    const Napi::Array ids = ReadArray(banned, "banned");
    for (uint32_t i = 0; i < ids.Length(); i++) p.banned.push_back(static_cast<uint32_t>(ReadInteger(ids.Get(i), "banned token")));
  }
  return p;
}

inline StepItem ReadItem(const Napi::Object& object) {
  StepItem item;
  item.tokens = ReadU32Array(object.Get("tokens"), "tokens");
  item.position = static_cast<uint32_t>(ReadInteger(object.Get("position"), "position"));
  item.block_table = ReadU32Array(object.Get("blockTable"), "blockTable");
  ReadMember(object, "sample", &item.sample, kBoolean);
  ReadMember(object, "wantLogits", &item.want_logits, kBoolean);
  ReadMember(object, "sampling", &item.sampling, [](const Napi::Value& v, const char*) { return ReadSampling(v); });
  ReadMember(object, "history", &item.history, ReadU32Array);
  return item;
}

inline std::vector<StepItem> ReadItems(const Napi::Value& value) {
  const Napi::Array array = ReadArray(value, "items");
  std::vector<StepItem> items(array.Length());
  for (uint32_t i = 0; i < items.size(); i++) {
    const Napi::HandleScope scope(value.Env());
    items[i] = ReadItem(ReadObject(array.Get(i), "item"));
  }
  return items;
}

inline MeasureRequest ReadMeasureRequest(const Napi::Value& value) {
  MeasureRequest request;
  if (Absent(value)) return request;
  const Napi::Object object = ReadObject(value, "request");
  ReadMember(object, "every", &request.every, kInteger);
  if (const Napi::Value policies = object.Get("policies"); !Absent(policies)) {
    const Napi::Array list = ReadArray(policies, "policies");
    for (uint32_t i = 0; i < list.Length(); i++) request.policies.push_back(ReadString(list.Get(i), "policy"));
  }
  if (const Napi::Value maps = object.Get("maps"); !Absent(maps)) {
    const Napi::Array list = ReadArray(maps, "maps");
    for (uint32_t i = 0; i < list.Length(); i++) {
      const Napi::Array pair = ReadArray(list.Get(i), "maps entry");
      request.maps.emplace_back(ReadInteger(pair.Get(0u), "layer of a map"), ReadInteger(pair.Get(1u), "head of a map"));
    }
  }
  return request;
}

inline KvRange ReadRange(const Napi::Value& blocks, const Napi::Value& codec, const Napi::Value& first_token, const Napi::Value& last_tokens) {
  KvRange range;
  range.blocks = ReadU32Array(blocks, "blocks");
  const auto named = KvCodecNamed(ReadString(codec, "codec"));
  if (!named) Refuse("codec must be raw, lossless, int8 or int4");
  range.codec = *named;
  range.first_token = static_cast<uint32_t>(ReadInteger(first_token, "firstToken"));
  if (!Absent(last_tokens)) range.last_tokens = static_cast<uint32_t>(ReadInteger(last_tokens, "lastTokens"));
  return range;
}

// Copies: the caller may reuse its buffers at once.
inline std::vector<Section> ReadSections(const Napi::Value& value) {
  const Napi::Array array = ReadArray(value, "layers");
  std::vector<Section> sections(array.Length());
  for (uint32_t i = 0; i < sections.size(); i++) {
    const Napi::Value layer = array.Get(i);
    if (!layer.IsTypedArray() || layer.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) Refuse("layers must be Uint8Arrays");
    const auto bytes = layer.As<Napi::Uint8Array>();
    sections[i] = {std::unique_ptr<uint8_t[]>(new uint8_t[bytes.ByteLength()]), bytes.ByteLength()};
    std::copy_n(bytes.Data(), bytes.ByteLength(), sections[i].data.get());
  }
  return sections;
}

// Views into the caller's buffer, which must stay as it is until the call has ended.
inline SealedObject ReadSealed(const Napi::Value& value) {
  const Napi::Object object = ReadObject(value, "sealed");
  const auto bytes_of = [&](const char* name) {
    const Napi::Value member = object.Get(name);
    if (!member.IsTypedArray() || member.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) Refuse(std::string(name) + " must be a Uint8Array");
    Napi::Uint8Array array = member.As<Napi::Uint8Array>();
    return std::span<uint8_t>(array.Data(), array.ByteLength());
  };
  SealedObject sealed;
  sealed.bytes = bytes_of("bytes");
  sealed.additional_bytes = static_cast<uint32_t>(ReadInteger(object.Get("additionalBytes"), "additionalBytes"));
  if (sealed.additional_bytes > sealed.bytes.size()) Refuse("additionalBytes must lie inside the object");
  const auto key = bytes_of("key"), nonce = bytes_of("nonceBase");
  if (key.size() != sealed.key.size() || nonce.size() != sealed.nonce_base.size()) Refuse("key must have 32 bytes and nonceBase 12");
  std::copy(key.begin(), key.end(), sealed.key.begin());
  std::copy(nonce.begin(), nonce.end(), sealed.nonce_base.begin());
  const std::vector<uint32_t> table = ReadU32Array(object.Get("sections"), "sections");
  if (table.size() % 3 != 0) Refuse("sections must hold offset, bytes and crc32 of each layer");
  for (size_t i = 0; i < table.size(); i += 3) sealed.sections.push_back({table[i], table[i + 1], table[i + 2]});
  return sealed;
}

template <typename T>
inline Napi::Array ToArray(Napi::Env env, const std::vector<T>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); i++) array.Set(i, Napi::Number::New(env, static_cast<double>(values[i])));
  return array;
}

// Memory that JavaScript takes over without a copy.
inline Napi::ArrayBuffer Adopt(Napi::Env env, std::unique_ptr<uint8_t[]> data, size_t size) {
  uint8_t* const raw = data.release();
  return Napi::ArrayBuffer::New(env, raw, size, [](Napi::Env, void* p) { delete[] static_cast<uint8_t*>(p); });
}

inline Napi::Object ToObject(Napi::Env env, const ModelInfo& info, KvDtype dtype) {
  Napi::Object o = Napi::Object::New(env);
  o["family"] = info.family;
  o["name"] = info.name;
  o["layers"] = info.layers;
  o["hidden"] = info.hidden;
  o["heads"] = info.heads;
  o["kvHeads"] = info.kv_heads;
  o["headDim"] = info.head_dim;
  o["intermediate"] = info.intermediate;
  o["vocab"] = info.vocab;
  o["contextLength"] = info.context_length;
  o["weightsDigest"] = info.weights_digest;
  o["configJson"] = info.config_json;
  o["numerics"] = info.numerics;
  o["weightsFormat"] = info.weights_format;
  o["weightBytes"] = static_cast<double>(info.weight_bytes);
  o["kvBytesPerToken"] = static_cast<double>(info.kv_bytes_per_token);
  o["kvDtype"] = dtype == KvDtype::kF32 ? "f32" : "bf16";
  o["eosIds"] = ToArray(env, info.eos_ids);
  o["bosId"] = info.bos_id >= 0 ? Napi::Number::New(env, info.bos_id) : env.Null();
  o["backend"] = info.backend;
  o["policyJson"] = info.policy_json;
  o["denseTokens"] = info.dense_tokens;
  o.Freeze();
  return o;
}

inline Napi::Value ToValue(Napi::Env env, const StepItem& item, StepOutput& output) {
  Napi::Object o = Napi::Object::New(env);
  const bool logprob = output.token >= 0 && (item.sampling.logprobs || item.sampling.top_logprobs > 0);
  o["token"] = output.token >= 0 ? Napi::Number::New(env, static_cast<double>(output.token)) : env.Null();
  o["logprob"] = logprob ? Napi::Number::New(env, output.logprob) : env.Null();
  Napi::Array top = Napi::Array::New(env, output.top.size());
  for (uint32_t i = 0; i < output.top.size(); i++) {
    Napi::Object entry = Napi::Object::New(env);
    entry["id"] = output.top[i].id;
    entry["logprob"] = output.top[i].logprob;
    top.Set(i, entry);
  }
  o["top"] = top;
  if (item.want_logits) {
    auto* logits = new std::vector<float>(std::move(output.logits));
    const auto buffer = Napi::ArrayBuffer::New(env, logits->data(), logits->size() * sizeof(float), [logits](Napi::Env, void*) { delete logits; });
    o["logits"] = Napi::Float32Array::New(env, logits->size(), buffer, 0);
  }
  return o;
}

inline Napi::Object ToObject(Napi::Env env, const EngineStats& stats) {
  Napi::Object o = Napi::Object::New(env);
  o["steps"] = static_cast<double>(stats.steps);
  o["tokens"] = static_cast<double>(stats.tokens);
  o["abortedSteps"] = static_cast<double>(stats.aborted_steps);
  o["prefillMs"] = static_cast<double>(stats.prefill_ns) / 1e6;
  o["decodeMs"] = static_cast<double>(stats.decode_ns) / 1e6;
  o["kvPoolBytes"] = static_cast<double>(stats.kv_pool_bytes);
  o["weightBytes"] = static_cast<double>(stats.weight_bytes);
  o["scratchBytes"] = static_cast<double>(stats.scratch_bytes);
  o["attentionMs"] = static_cast<double>(stats.attention_ns) / 1e6;
  o["sparseSelectMs"] = static_cast<double>(stats.sparse_select_ns) / 1e6;
  o["sparseAttendMs"] = static_cast<double>(stats.sparse_attend_ns) / 1e6;
  o["causalEntries"] = static_cast<double>(stats.causal_entries);
  o["computedEntries"] = static_cast<double>(stats.computed_entries);
  o["scannedEntries"] = static_cast<double>(stats.scanned_entries);
  o["decodeKeys"] = static_cast<double>(stats.decode.keys);
  o["decodeScannedKeys"] = static_cast<double>(stats.decode.scanned);
  o["decodeRescoredKeys"] = static_cast<double>(stats.decode.rescored);
  o["decodeKeptKeys"] = static_cast<double>(stats.decode.kept);
  o["decodeBytes"] = static_cast<double>(stats.decode.bytes);
  o["decodeDenseBytes"] = static_cast<double>(stats.decode.dense_bytes);
  o["decodeMassKept"] = stats.decode.mass_kept;
  o["decodeMeasured"] = static_cast<double>(stats.decode.measured);
  return o;
}

// sums: [policies][layers][heads][9], the members of HeadMeasure in their order.
inline Napi::Object ToObject(Napi::Env env, const AttentionMeasures& measures) {
  Napi::Object o = Napi::Object::New(env);
  o["policies"] = measures.policies;
  o["layers"] = measures.layers;
  o["heads"] = measures.heads;
  Napi::Float64Array sums = Napi::Float64Array::New(env, measures.measures.size() * 9);
  size_t at = 0;
  for (const HeadMeasure& m : measures.measures)
    for (const double x : {m.rows, m.mass, m.low, m.error2, m.norm2, m.causal, m.computed, m.scanned, m.ns}) sums[at++] = x;
  o["sums"] = sums;
  Napi::Array maps = Napi::Array::New(env, measures.maps.size());
  for (uint32_t i = 0; i < measures.maps.size(); i++) {
    const Napi::HandleScope scope(env);
    const BlockMapRow& row = measures.maps[i];
    Napi::Object entry = Napi::Object::New(env);
    entry["layer"] = row.layer;
    entry["head"] = row.head;
    entry["block"] = row.block;
    Napi::Float32Array mass = Napi::Float32Array::New(env, row.mass.size());
    std::copy(row.mass.begin(), row.mass.end(), mass.Data());
    entry["mass"] = mass;
    Napi::Uint8Array read = Napi::Uint8Array::New(env, row.read.size());
    std::copy(row.read.begin(), row.read.end(), read.Data());
    entry["read"] = read;
    maps.Set(i, entry);
  }
  o["maps"] = maps;
  return o;
}

template <typename T>
Napi::Value OrNull(Napi::Env env, const std::optional<T>& value) {
  if (!value) return env.Null();
  if constexpr (std::is_same_v<T, std::string_view>) return Napi::String::New(env, value->data(), value->size());
  else return Napi::Value::From(env, *value);
}

inline Napi::Value ToStrings(Napi::Env env, const std::vector<std::string_view>* strings) {
  if (strings == nullptr) return env.Null();
  Napi::Array array = Napi::Array::New(env, strings->size());
  for (uint32_t i = 0; i < strings->size(); i++) {
    const Napi::HandleScope scope(env);
    array.Set(i, Napi::String::New(env, (*strings)[i].data(), (*strings)[i].size()));
  }
  return array;
}

template <typename Array, typename T>
Napi::Value ToTyped(Napi::Env env, const std::vector<T>* values) {
  if (values == nullptr) return env.Null();
  Array array = Array::New(env, values->size());
  for (size_t i = 0; i < values->size(); i++) array[i] = static_cast<std::remove_reference_t<decltype(array[i])>>((*values)[i]);
  return array;
}

inline Napi::Value ToValue(Napi::Env env, const std::optional<TokenizerMetadata>& tokenizer) {
  if (!tokenizer) return env.Null();
  Napi::Object o = Napi::Object::New(env);
  o["model"] = std::string(tokenizer->model);
  o["pre"] = OrNull(env, tokenizer->pre);
  o["tokens"] = ToStrings(env, tokenizer->tokens);
  o["merges"] = ToStrings(env, tokenizer->merges);
  o["scores"] = ToTyped<Napi::Float32Array>(env, tokenizer->scores);
  o["tokenTypes"] = ToTyped<Napi::Int32Array>(env, tokenizer->token_types);
  o["bosId"] = OrNull(env, tokenizer->bos_id);
  o["eosId"] = OrNull(env, tokenizer->eos_id);
  o["eotId"] = OrNull(env, tokenizer->eot_id);
  o["unkId"] = OrNull(env, tokenizer->unk_id);
  o["padId"] = OrNull(env, tokenizer->pad_id);
  o["addBos"] = OrNull(env, tokenizer->add_bos);
  o["addEos"] = OrNull(env, tokenizer->add_eos);
  o["addSpacePrefix"] = OrNull(env, tokenizer->add_space_prefix);
  o["chatTemplate"] = OrNull(env, tokenizer->chat_template);
  return o;
}

inline Napi::Object ToObject(Napi::Env env, const ModelFile& file) {
  const Hyperparameters& h = file.hyperparameters();
  Napi::Object o = Napi::Object::New(env);
  o["container"] = file.format().starts_with("gguf") ? "gguf" : "hf";
  o["family"] = file.family();
  o["name"] = h.name;
  o["weightsFormat"] = file.format();
  o["contextLength"] = h.context_length;
  o["vocab"] = h.vocab;
  o["layers"] = h.layers;
  o["kvHeads"] = h.kv_heads;
  o["headDim"] = h.head_dim;
  o["eosIds"] = ToArray(env, h.eos_ids);
  o["bosId"] = h.bos_id >= 0 ? Napi::Number::New(env, h.bos_id) : env.Null();
  o["tokenizer"] = ToValue(env, TokenizerOf(file.metadata()));
  return o;
}

}  // namespace longshore
