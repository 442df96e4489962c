// The only file that knows Node: index.ts's interface over engine.h. JS values become plain structs on the JS thread, tasks
// run on a session's threads, and results come back through one thread-safe function per environment.
#include <napi.h>

#include <algorithm>
#include <map>
#include <thread>

#include "addon/openssl_cipher.h"
#include "addon/session.h"
#include "addon/values.h"
#include "engine/formats/weights.h"
#include "engine/kv/object.h"

namespace longshore {
namespace {

// A call whose promise JavaScript holds.
class Call : public Task {
 public:
  explicit Call(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  virtual Napi::Value Answer(Napi::Env env) = 0;
  // Nothing that the call uses is collected while it runs.
  void Keep(const Napi::Value& value) {
    if (value.IsObject()) kept.push_back(Napi::Persistent(value.As<Napi::Object>()));
  }
  Napi::Promise::Deferred deferred;
  std::vector<Napi::ObjectReference> kept;
};

struct Message {
  std::unique_ptr<Task> finished;
  uint64_t ended_session = 0;
};

struct Environment;
void Deliver(Napi::Env env, Napi::Function, Environment* environment, Message* message);
using Deliveries = Napi::TypedThreadSafeFunction<Environment, Message, Deliver>;

struct Environment {
  Napi::FunctionReference error_class;
  Napi::FunctionReference engine_class;
  Deliveries deliveries;
  std::map<uint64_t, std::shared_ptr<Session>> sessions;  // until their threads are joined
  uint64_t next_session = 1;
  uint32_t pending = 0;  // calls whose promises are open: they keep the event loop alive

  static Environment& Of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  Napi::Value Error(Napi::Env env, const Status& status) const {
    const auto code = Napi::String::New(env, CodeName(status.code())), message = Napi::String::New(env, status.message());
    if (!error_class.IsEmpty()) return error_class.New({code, message});
    Napi::Object error = Napi::Error::New(env, status.message()).Value();
    error["code"] = code;
    return error;
  }

  void Started(Napi::Env env) {
    if (pending++ == 0) deliveries.Ref(env);
  }
  void Ended(Napi::Env env) {
    if (--pending == 0) deliveries.Unref(env);
  }
};

void Settle(Napi::Env env, Environment* environment, Call* call) {
  try {
    if (call->status.ok()) call->deferred.Resolve(call->Answer(env));
    else call->deferred.Reject(environment->Error(env, call->status));
  } catch (const Napi::Error&) {
    // A worker that is being terminated runs no more JavaScript: nobody waits for the answer.
  } catch (const std::bad_alloc&) {
    call->status = {Code::kOutOfMemory, "no memory for the answer"};
    Settle(env, environment, call);
  }
}

// On the JS thread; `env` is null when the environment is ending and only memory is to be freed.
void Deliver(Napi::Env env, Napi::Function, Environment* environment, Message* raw) {
  const std::unique_ptr<Message> message(raw);
  auto* const call = static_cast<Call*>(message->finished.get());
  if (env == nullptr) {
    if (call) {
      for (auto& reference : call->kept) reference.SuppressDestruct();
    }
    return;
  }
  if (call) {
    Settle(env, environment, call);
    environment->Ended(env);
  }
  if (message->ended_session != 0) {
    const auto it = environment->sessions.find(message->ended_session);
    it->second->Join();
    environment->sessions.erase(it);
  }
}

// Registered after the thread-safe function, so it runs before that one closes: no thread outlives what it posts to.
void EndEnvironment(Environment* environment) {
  for (auto& [id, session] : environment->sessions) session->Abandon();
  for (auto& [id, session] : environment->sessions) session->Join();
}

// Runs `body`, which returns a promise; what it refuses becomes a rejection.
template <typename Body>
Napi::Value Promised(Napi::Env env, const Body& body) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  try {
    return body();
  } catch (const Refusal& refusal) {
    deferred.Reject(Environment::Of(env).Error(env, refusal.status));
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());  // thrown by a getter among the arguments
  } catch (const std::bad_alloc&) {
    deferred.Reject(Environment::Of(env).Error(env, {Code::kOutOfMemory, "no memory for the call's arguments"}));
  }
  return deferred.Promise();
}

// ---- calls -----------------------------------------------------------------------------------------------------------------

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

// ---- the engine's object ---------------------------------------------------------------------------------------------------

Napi::Value Submit(Napi::Env env, Session& session, Session::Lane lane, std::unique_ptr<Call> call) {
  const Napi::Promise promise = call->deferred.Promise();
  std::unique_ptr<Task> task = std::move(call);
  if (Status status = session.Submit(lane, task); !status.ok()) throw Refusal{std::move(status)};
  Environment::Of(env).Started(env);
  return promise;
}

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {InstanceMethod("step", &EngineObject::Step), InstanceMethod("measure", &EngineObject::Measure), InstanceMethod("exportBlocks", &EngineObject::ExportBlocks),
                        InstanceMethod("importBlocks", &EngineObject::ImportBlocks),
                        InstanceMethod("importSealed", &EngineObject::ImportSealed), InstanceMethod("stats", &EngineObject::Stats),
                        InstanceMethod("close", &EngineObject::Close)});
  }

  explicit EngineObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EngineObject>(info) {
    if (info.Length() != 1 || !info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "engines come from open()");
    open_ = *info[0].As<Napi::External<OpenEngine>>().Data();
  }
  // Runs when an engine is collected that nobody closed, too.
  ~EngineObject() override {
    if (open_.session) open_.session->Abandon();
  }

 private:
  Session& session() const { return *open_.session; }

  void RefuseWhenClosed() const {
    if (session().closing()) throw Refusal{{Code::kClosed, "the engine is closed"}};
  }

  template <typename T>
  Napi::Value Run(const Napi::CallbackInfo& info, Session::Lane lane, std::unique_ptr<T> call) {
    call->Keep(info.This());
    return Submit(info.Env(), session(), lane, std::move(call));
  }

  static std::atomic<int32_t>* ReadCancel(const Napi::Value& value) {
    if (Absent(value)) return nullptr;
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array || value.As<Napi::TypedArray>().ElementLength() < 1)
      Refuse("cancel must be an Int32Array over a SharedArrayBuffer");
    static_assert(sizeof(std::atomic<int32_t>) == sizeof(int32_t) && std::atomic<int32_t>::is_always_lock_free);
    return reinterpret_cast<std::atomic<int32_t>*>(value.As<Napi::Int32Array>().Data());
  }

  Napi::Value Measure(const Napi::CallbackInfo& info) {
    return Promised(info.Env(), [&] {
      RefuseWhenClosed();
      auto call = std::make_unique<MeasureCall>(info.Env(), session().engine(), ReadItem(ReadObject(info[0], "item")), ReadMeasureRequest(info[1]),
                                                ReadCancel(info[2]));
      call->Keep(info[2]);
      return Run(info, Session::kSteps, std::move(call));
    });
  }

  Napi::Value Step(const Napi::CallbackInfo& info) {
    return Promised(info.Env(), [&] {
      RefuseWhenClosed();
      std::vector<StepItem> items = ReadItems(info[0]);
      std::atomic<int32_t>* cancel = ReadCancel(info[1]);
      auto call = std::make_unique<StepCall>(info.Env(), session().engine(), std::move(items), cancel);
      call->Keep(info[1]);
      return Run(info, Session::kSteps, std::move(call));
    });
  }

  Napi::Value ExportBlocks(const Napi::CallbackInfo& info) {
    return Promised(info.Env(), [&] {
      RefuseWhenClosed();
      return Run(info, Session::kTransfers, std::make_unique<ExportCall>(info.Env(), open_, ReadRange(info[0], info[1], info[2], info[3])));
    });
  }

  Napi::Value ImportBlocks(const Napi::CallbackInfo& info) {
    return Promised(info.Env(), [&] {
      RefuseWhenClosed();
      KvRange range = ReadRange(info[0], info[1], info[3], info[4]);
      std::vector<Section> sections = ReadSections(info[2]);
      return Run(info, Session::kTransfers, std::make_unique<ImportCall>(info.Env(), open_, std::move(range), std::move(sections)));
    });
  }

  Napi::Value ImportSealed(const Napi::CallbackInfo& info) {
    return Promised(info.Env(), [&] {
      RefuseWhenClosed();
      KvRange range = ReadRange(info[0], info[1], info[3], info[5]);
      const uint32_t skip = static_cast<uint32_t>(ReadInteger(info[4], "skip", kMaxObjectBlocks));
      auto call = std::make_unique<ImportSealedCall>(info.Env(), open_, std::move(range), skip, ReadSealed(info[2]));
      call->Keep(info[2].As<Napi::Object>().Get("bytes"));
      return Run(info, Session::kTransfers, std::move(call));
    });
  }

  Napi::Value Stats(const Napi::CallbackInfo& info) {
    if (session().closing()) {
      throw Napi::Error(info.Env(), Environment::Of(info.Env()).Error(info.Env(), {Code::kClosed, "the engine is closed"}));
    }
    return ToObject(info.Env(), session().engine()->stats());
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    auto call = std::make_unique<CloseCall>(info.Env());
    const auto deferred = call->deferred;
    call->Keep(info.This());
    std::unique_ptr<Task> task = std::move(call);
    if (session().Close(task)) Environment::Of(info.Env()).Started(info.Env());
    else deferred.Resolve(info.Env().Undefined());
    return deferred.Promise();
  }

  OpenEngine open_;
};

Napi::Value OpenCall::Answer(Napi::Env env) {
  const auto external = Napi::External<OpenEngine>::New(env, &opening_);
  Napi::Object engine = Environment::Of(env).engine_class.New({external});
  const Napi::Object info = ToObject(env, opening_.session->engine()->info(), opening_.options.kv_dtype);
  engine.DefineProperty(Napi::PropertyDescriptor::Value("info", info, napi_enumerable));
  return engine;
}

// ---- the module ------------------------------------------------------------------------------------------------------------

Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Promised(env, [&]() -> Napi::Value {
    EngineOptions options = ReadOptions(info[0]);
    Environment& environment = Environment::Of(env);
    const uint64_t id = environment.next_session++;
    const auto deliver = [deliveries = environment.deliveries](Message message) {
      deliveries.NonBlockingCall(new Message(std::move(message)));
    };
    auto session = std::make_shared<Session>(SessionEvents{
        .finished = [deliver](std::unique_ptr<Task> task) { deliver({std::move(task), 0}); },
        .ended = [deliver, id] { deliver({nullptr, id}); },
    });
    if (Status status = session->Start(); !status.ok()) throw Refusal{std::move(status)};
    environment.sessions[id] = session;
    return Submit(env, *session, Session::kSteps, std::make_unique<OpenCall>(env, OpenEngine{session, std::move(options)}));
  });
}

class MetadataCall : public Napi::AsyncWorker {
 public:
  MetadataCall(Napi::Env env, std::string path) : AsyncWorker(env), deferred(Napi::Promise::Deferred::New(env)), path_(std::move(path)) {}
  const Napi::Promise::Deferred deferred;

 private:
  void Execute() override {
    auto file = ModelFile::Open(path_);
    status_ = file.status();
    if (file.ok()) file_ = std::move(file.value());
  }
  void OnOK() override {
    if (status_.ok()) deferred.Resolve(ToObject(Env(), *file_));
    else deferred.Reject(Environment::Of(Env()).Error(Env(), status_));
  }
  void OnError(const Napi::Error& error) override { deferred.Reject(Environment::Of(Env()).Error(Env(), {Code::kInternal, error.Message()})); }

  std::string path_;
  std::unique_ptr<ModelFile> file_;
  Status status_;
};

Napi::Value ReadModelMetadata(const Napi::CallbackInfo& info) {
  return Promised(info.Env(), [&]() -> Napi::Value {
    auto* call = new MetadataCall(info.Env(), ReadString(info[0], "path"));
    const Napi::Promise promise = call->deferred.Promise();
    call->Queue();
    return promise;
  });
}

void SetErrorClass(const Napi::CallbackInfo& info) {
  Environment::Of(info.Env()).error_class = Napi::Persistent(info[0].As<Napi::Function>());
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment;
  env.SetInstanceData(environment);
  environment->engine_class = Napi::Persistent(EngineObject::Define(env));
  environment->deliveries = Deliveries::New(env, "longshore", 0, 1, environment);
  environment->deliveries.Unref(env);
  env.AddCleanupHook(EndEnvironment, environment);
  exports["open"] = Napi::Function::New(env, Open, "open");
  exports["readModelMetadata"] = Napi::Function::New(env, ReadModelMetadata, "readModelMetadata");
  exports["setErrorClass"] = Napi::Function::New(env, SetErrorClass, "setErrorClass");
  return exports;
}

}  // namespace
}  // namespace longshore

static Napi::Object InitLongshore(Napi::Env env, Napi::Object exports) { return longshore::Init(env, exports); }
NODE_API_MODULE(longshore, InitLongshore)
