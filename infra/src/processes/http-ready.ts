/** True when the URL answers with a 2xx within a second. */
export async function answersOk(url: string, headers: Record<string, string> = {}): Promise<boolean> {
  const response = await fetch(url, { headers, signal: AbortSignal.timeout(1000) });
  await response.body?.cancel();
  return response.ok;
}
