// The one translation unit that knows Node: index.ts's interface over engine.h. JS values become plain structs on the JS thread, tasks
// run on a session's threads, and results come back through one thread-safe function per environment.
#include <napi.h>

#include "addon/calls.h"
#include "engine/formats/weights.h"

namespace longshore {
namespace {

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {InstanceMethod("step", &EngineObject::Step), InstanceMethod("measure", &EngineObject::Measure),
                        InstanceMethod("exportBlocks", &EngineObject::ExportBlocks), InstanceMethod("importBlocks", &EngineObject::ImportBlocks),
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
