import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { EngineError, type EngineErrorCode } from './errors.ts';
import type { Engine, EngineOptions, ModelMetadata } from './index.ts';

/** What addon/addon.cc exports. */
interface Binding {
  /** The class of every rejection; called once per environment. */
  setErrorClass(errorClass: new (code: EngineErrorCode, message: string) => EngineError): void;
  open(options: EngineOptions): Promise<Engine>;
  readModelMetadata(path: string): Promise<ModelMetadata>;
}

const path = fileURLToPath(new URL('./build/longshore.node', import.meta.url));
let loaded: Binding | undefined;

/** Loads build/longshore.node at the first use, so that types and errors can be imported before the engine is built. */
export function binding(): Binding {
  if (loaded) return loaded;
  try {
    const module = createRequire(import.meta.url)(path) as Binding;
    module.setErrorClass(EngineError);
    loaded = module;
    return module;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new EngineError('not_found', `the native engine cannot be loaded: run "npm run build" (${reason})`);
  }
}
