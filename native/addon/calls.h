// What a session's threads do for JavaScript, one class for each of the engine's methods.
#pragma once

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "addon/environment.h"
#include "addon/openssl_cipher.h"
#include "engine/kv/object.h"

namespace longshore {

struct OpenEngine {
  std::shared_ptr<Session> session;
  EngineOptions options;

  uint32_t transfer_threads() const {
    return options.threads > 0 ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  }
  KvShape shape() const { return ShapeOf(session->engine()->info(), options.kv_dtype); }
};

class OpenCall : public Call {
 public:
  OpenCall(Napi::Env env, OpenEngine opening) : Call(env), opening_(std::move(opening)) {}
  Status Run(const std::atomic<int32_t>&) override {
    Result<std::unique_ptr<Engine>> engine = Engine::Open(opening_.options);
    if (!engine.ok()) return engine.status();
    opening_.session->set_engine(std::move(engine.value()));
    return Status::Ok();
  }
  Napi::Value Answer(Napi::Env env) override;

 private:
  OpenEngine opening_;
};

class StepCall : public Call {
 public:
  StepCall(Napi::Env env, Engine* engine, std::vector<StepItem> items, std::atomic<int32_t>* cancel)
      : Call(env), engine_(engine), items_(std::move(items)), cancel_(cancel) {}
  Status Run(const std::atomic<int32_t>& stop) override { return engine_->Step(items_, &outputs_, cancel_ ? cancel_ : &stop); }
  void Cancel() override {
    if (cancel_) cancel_->store(1);
  }
  Napi::Value Answer(Napi::Env env) override {
    Napi::Array array = Napi::Array::New(env, outputs_.size());
    for (uint32_t i = 0; i < outputs_.size(); i++) {
      const Napi::HandleScope scope(env);
      array.Set(i, ToValue(env, items_[i], outputs_[i]));
    }
    return array;
  }

 private:
  Engine* engine_;
  std::vector<StepItem> items_;
  std::vector<StepOutput> outputs_;
  std::atomic<int32_t>* cancel_;  // in the caller's SharedArrayBuffer, which kept keeps
};

class MeasureCall : public Call {
 public:
  MeasureCall(Napi::Env env, Engine* engine, StepItem item, MeasureRequest request, std::atomic<int32_t>* cancel)
      : Call(env), engine_(engine), item_(std::move(item)), request_(std::move(request)), cancel_(cancel) {}
  Status Run(const std::atomic<int32_t>& stop) override { return engine_->Measure(item_, request_, &measures_, cancel_ ? cancel_ : &stop); }
  void Cancel() override {
    if (cancel_) cancel_->store(1);
  }
  Napi::Value Answer(Napi::Env env) override { return ToObject(env, measures_); }

 private:
  Engine* engine_;
  StepItem item_;
  MeasureRequest request_;
  AttentionMeasures measures_;
  std::atomic<int32_t>* cancel_;  // as StepCall's
};

class ExportCall : public Call {
 public:
  ExportCall(Napi::Env env, const OpenEngine& open, KvRange range) : Call(env), open_(open), range_(std::move(range)) {}
  Status Run(const std::atomic<int32_t>&) override {
    if (Status status = CheckRange(range_, open_.options.kv_blocks); !status.ok()) return status;
    auto sections = ExportBlocks(*open_.session->engine(), range_, open_.shape(), open_.transfer_threads());
    if (sections.ok()) sections_ = std::move(sections.value());
    return sections.status();
  }
  Napi::Value Answer(Napi::Env env) override {
    Napi::Array layers = Napi::Array::New(env, sections_.size());
    for (uint32_t i = 0; i < sections_.size(); i++) {
      const size_t size = sections_[i].size;
      layers.Set(i, Napi::Uint8Array::New(env, size, Adopt(env, std::move(sections_[i].data), size), 0));
    }
    uint64_t tokens = 0;
    for (size_t i = 0; i < range_.blocks.size(); i++) tokens += range_.tokens(i);
    Napi::Object o = Napi::Object::New(env);
    o["layers"] = layers;
    o["rawBytes"] = static_cast<double>(tokens * open_.shape().RawBytes(1) * sections_.size());
    return o;
  }

 private:
  OpenEngine open_;
  KvRange range_;
  std::vector<Section> sections_;
};

class ImportCall : public Call {
 public:
  ImportCall(Napi::Env env, const OpenEngine& open, KvRange range, std::vector<Section> sections)
      : Call(env), open_(open), range_(std::move(range)), sections_(std::move(sections)) {}
  Status Run(const std::atomic<int32_t>&) override {
    if (Status status = CheckRange(range_, open_.options.kv_blocks); !status.ok()) return status;
    return ImportBlocks(open_.session->engine(), range_, open_.shape(), sections_, open_.transfer_threads());
  }
  Napi::Value Answer(Napi::Env env) override { return env.Undefined(); }

 private:
  OpenEngine open_;
  KvRange range_;
  std::vector<Section> sections_;
};

class ImportSealedCall : public Call {
 public:
  ImportSealedCall(Napi::Env env, const OpenEngine& open, KvRange range, uint32_t skip, SealedObject object)
      : Call(env), open_(open), range_(std::move(range)), skip_(skip), object_(std::move(object)) {}
  Status Run(const std::atomic<int32_t>&) override {
    const SectionCipher* cipher = OpenSslCipher();
    if (!cipher) return {Code::kUnsupported, "this Node shows no OpenSSL: open the sections with node:crypto and use importBlocks"};
    if (Status status = CheckRange(range_, open_.options.kv_blocks); !status.ok()) return status;
    auto imported = ImportSealed(open_.session->engine(), range_, skip_, open_.shape(), object_, *cipher, open_.transfer_threads());
    if (imported.ok()) imported_ = imported.value();
    return imported.status();
  }
  Napi::Value Answer(Napi::Env env) override {
    Napi::Object o = Napi::Object::New(env);
    o["openMs"] = imported_.open_ms;
    o["writeMs"] = imported_.write_ms;
    return o;
  }

 private:
  OpenEngine open_;
  KvRange range_;
  uint32_t skip_;
  SealedObject object_;  // bytes: of the caller's buffer, which kept keeps
  SealedImport imported_;
};

class CloseCall : public Call {
 public:
  using Call::Call;
  Status Run(const std::atomic<int32_t>&) override { return Status::Ok(); }
  Napi::Value Answer(Napi::Env env) override { return env.Undefined(); }
};

inline Napi::Value OpenCall::Answer(Napi::Env env) {
  const auto external = Napi::External<OpenEngine>::New(env, &opening_);
  Napi::Object engine = Environment::Of(env).engine_class.New({external});
  const Napi::Object info = ToObject(env, opening_.session->engine()->info(), opening_.options.kv_dtype);
  engine.DefineProperty(Napi::PropertyDescriptor::Value("info", info, napi_enumerable));
  return engine;
}

}  // namespace longshore
