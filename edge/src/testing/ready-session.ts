import { commitTurn, createSession } from '@longshore/db';
import { randomId } from '../http/random-id.ts';
import type { EdgeHarness } from './edge-harness.ts';

/** A session of 500 tokens, one turn old, as worker "a" would have left it. Returns its id. */
export async function readySession(edge: EdgeHarness): Promise<string> {
  const { organizationId, projectId } = edge.organization;
  const id = randomId('session');
  const row = { id, organizationId, projectId, model: 'tiny', label: 'Origin', metadata: { a: 'b' }, ttlSeconds: 3600 };
  await createSession(edge.db, row);
  await commitTurn(edge.db, {
    organizationId,
    sessionId: id,
    expectedVersion: 0,
    workerId: 'a',
    tokenCount: 500,
    sealedTokens: Uint8Array.of(1),
    sealedTranscript: Uint8Array.of(2),
    tailObjectKey: null,
    headHash: null,
    turn: {
      requestId: 'r',
      promptTokens: 7,
      cachedTokens: 0,
      completionTokens: 0,
      finishReason: 'prefill',
      tier: 'none',
      ttftMs: 1,
    },
  });
  return id;
}
