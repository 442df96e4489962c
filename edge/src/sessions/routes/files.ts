import {
  decodeSessionFileHeader,
  type ImportAnswer,
  LongshoreError,
  type SessionFileHeader,
  sessionFileHeadBytes,
} from '@longshore/core';
import { createSession, deleteSession } from '@longshore/db';
import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { patientJson } from '../../http/patient-json.ts';
import { PeekedStream } from '../../http/peek-stream.ts';
import { randomId } from '../../http/random-id.ts';
import { sessionObject } from '../domain/session-object.ts';
import { requireSession } from '../find.ts';
import { requireServed } from '../model-check.ts';
import { requireReady } from '../ready.ts';
import { parseImport } from '../requests/import-session.ts';
import { callOptionsOf, onSomeWorker } from '../worker-call.ts';

const MEDIA_TYPE = 'application/vnd.longshore.session';
/** A file of many gigabytes over a slow line. */
const TRANSFER_TIMEOUT_MS = 3_600_000;
const FIXED_HEAD_BYTES = 12;

/** GET /v1/sessions/:id/export: the session with its cache as one file, streamed. */
export async function exportFile(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const session = await requireSession(scope, apiKey, c.req.param('id') ?? '');
  requireModel(apiKey, session.model);
  requireReady(session);
  const { organizationId, model, id } = session;
  const body = { requestId: scope.requestId, organizationId, model, session: id };
  const signal = AbortSignal.any([c.req.raw.signal, AbortSignal.timeout(TRANSFER_TIMEOUT_MS)]);
  const file = await onSomeWorker(scope, callOptionsOf(session), (workers, worker) =>
    workers.download(worker, '/sessions/export', body, signal),
  );
  return new Response(file, {
    headers: { 'content-type': MEDIA_TYPE, 'content-disposition': `attachment; filename="${id}.lssx"` },
  });
}

async function headerOf(stream: PeekedStream): Promise<SessionFileHeader> {
  const length = sessionFileHeadBytes(await stream.peek(FIXED_HEAD_BYTES)) ?? FIXED_HEAD_BYTES;
  return decodeSessionFileHeader(await stream.peek(length));
}

/** POST /v1/sessions/import: a session from such a file, under this key's organization and its keys. */
export async function importFile(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const { label, ttl_seconds: ttlSeconds, model: wanted } = parseImport(c.req.query());
  const { body } = c.req.raw;
  if (body === null) throw new LongshoreError('invalid_request', 'Send the session file as the body.');
  const stream = new PeekedStream(body);
  const header = await headerOf(stream);
  const model = wanted ?? header.model;
  requireModel(apiKey, model);
  await requireServed(scope, model);

  const { organizationId, projectId } = apiKey;
  const id = randomId('session');
  await scope.query((db) => createSession(db, { id, organizationId, projectId, model, label, ttlSeconds }));
  const query = new URLSearchParams({ requestId: scope.requestId, organizationId, model, session: id });
  const gone = new AbortController();
  const signal = AbortSignal.any([c.req.raw.signal, gone.signal, AbortSignal.timeout(TRANSFER_TIMEOUT_MS)]);
  const options = { model, holder: undefined, tokenCount: header.tokenCount, maxWorkers: 1 };

  const work = async () => {
    try {
      const answer = await onSomeWorker(scope, options, (workers, worker) =>
        workers.upload(worker, `/sessions/import?${query}`, stream.whole(), signal),
      );
      const session = await requireSession(scope, apiKey, id);
      return { ...sessionObject(session), import: importReport(answer as ImportAnswer) };
    } catch (error) {
      await scope.query((db) => deleteSession(db, organizationId, id));
      throw error;
    }
  };
  const working = work();
  scope.defer(
    'import',
    working.catch(() => {}),
  );
  return patientJson(working, () => gone.abort(), 201);
}

/** What became of the file's KV. Counts in blocks of 128 tokens, bytes as they lay in the file. */
function importReport(answer: ImportAnswer) {
  return {
    blocks_imported: answer.blocksImported,
    blocks_total: answer.blocksTotal,
    recomputed_tokens: answer.recomputedTokens,
    bytes: answer.bytes,
    reason: answer.reason,
  };
}
