// What the addon keeps for one JavaScript environment: its sessions, and the one way by which their threads' results come back to it.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "addon/session.h"
#include "addon/values.h"

namespace longshore {

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
inline void Deliver(Napi::Env env, Napi::Function, Environment* environment, Message* message);
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

inline void Settle(Napi::Env env, Environment* environment, Call* call) {
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
inline void Deliver(Napi::Env env, Napi::Function, Environment* environment, Message* raw) {
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
inline void EndEnvironment(Environment* environment) {
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

// A rejected promise is the caller's to make: throws Refusal when the session takes nothing more.
inline Napi::Value Submit(Napi::Env env, Session& session, Session::Lane lane, std::unique_ptr<Call> call) {
  const Napi::Promise promise = call->deferred.Promise();
  std::unique_ptr<Task> task = std::move(call);
  if (Status status = session.Submit(lane, task); !status.ok()) throw Refusal{std::move(status)};
  Environment::Of(env).Started(env);
  return promise;
}

}  // namespace longshore
