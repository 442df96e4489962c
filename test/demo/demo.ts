import { HEARTBEAT_STALE_MS } from '@longshore/core';
import { createDatabase, type KvTotals, kvTotals } from '@longshore/db';
import type { TestPlatform } from '../harness/platform.ts';
import { type Answer, DemoClient, type Message, type Session } from './client.ts';
import { document, QUESTIONS } from './text.ts';

const ANSWER_TOKENS = 48;

export interface DemoResult {
  session: Session;
  /** The first question, asked of the worker that prefilled. */
  first: Answer;
  /** The second question, after that worker was killed. */
  resumed: Answer;
  /** The same conversation and second question without any cache, on the same worker as `resumed`. */
  cold: Answer;
  /** Another key's plain chat completion over the same document. */
  shared: Answer;
  stored: KvTotals;
}

/** Runs the whole story on a platform with two workers. `say` gets one line for each step. */
export async function runDemo(
  platform: TestPlatform,
  small: boolean,
  say: (line: string) => void,
): Promise<DemoResult> {
  const model = platform.model.name;
  const client = new DemoClient(platform.baseUrl, platform.apiKey, model);
  const text = document(small);

  say('1. A session over the whole document: prefilled once, its KV cache goes to S3.');
  const session = await client.createSession(text, everyQuarter(say));
  say(`   ${session.tokenCount} tokens ready after ${ms(session.readyMs)} on ${session.workerId}.`);

  say(`2. ${QUESTIONS[0]}`);
  const first = await client.turn(session, QUESTIONS[0], ANSWER_TOKENS);
  say(`   ${first.report.worker_id}: ${oneLine(first.text)}`);

  say(`3. SIGKILL for ${first.report.worker_id}: its memory is gone.`);
  await platform.killWorker(first.report.worker_id);
  const stored = await storedTotals(platform);
  // A person resumes later: by then the router has noticed, and the object store has written what it took.
  await new Promise((done) => setTimeout(done, HEARTBEAT_STALE_MS + 500));

  say(`4. ${QUESTIONS[1]}`);
  const resumed = await client.turn(session, QUESTIONS[1], ANSWER_TOKENS);
  say(`   ${resumed.report.worker_id}: ${oneLine(resumed.text)}`);

  say('5. The same conversation without any cache, for comparison.');
  const conversation: Message[] = [
    ...text,
    { role: 'user', content: QUESTIONS[0] },
    { role: 'assistant', content: first.text },
    { role: 'user', content: QUESTIONS[1] },
  ];
  const cold = await client.chat(conversation, ANSWER_TOKENS, { read: false, write: false });
  say(`   ${cold.report.worker_id}: ${oneLine(cold.text)}`);

  say('6. Another key of the organization asks about the same document, in a plain chat completion.');
  const other = new DemoClient(platform.baseUrl, await platform.createKey('demo, second key'), model);
  const question: Message = { role: 'user', content: 'How long is the term of a Representative?' };
  const shared = await other.chat([...text, question], ANSWER_TOKENS, { read: true, write: true });
  say(`   ${shared.report.worker_id}: ${oneLine(shared.text)}`);
  return { session, first, resumed, cold, shared, stored };
}

async function storedTotals(platform: TestPlatform): Promise<KvTotals> {
  const { db, close } = createDatabase(platform.databaseUrl, { max: 1 });
  try {
    return await kvTotals(db, platform.access.organizationId);
  } finally {
    await close();
  }
}

function everyQuarter(say: (line: string) => void): (done: number, total: number) => void {
  let next = 0.25;
  return (done, total) => {
    if (total === 0 || done / total < next) return;
    say(`   prefilled ${done} of ${total} tokens`);
    while (done / total >= next) next += 0.25;
  };
}

const ms = (value: number): string => `${Math.round(value)} ms`;
const oneLine = (text: string): string => text.trim().replaceAll(/\s+/g, ' ');
