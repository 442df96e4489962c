import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toHex, utf8 } from '@longshore/core';
import { openBytes, sealBytes } from './sealed-bytes.ts';
import type { TenantKeys } from './tenant-keys.ts';

const tenantWith = (fill: number): TenantKeys => {
  const current = { id: new Uint8Array(16).fill(fill), key: new Uint8Array(32).fill(fill) };
  const byId = new Map([[toHex(current.id), current]]);
  return { organizationId: 'org', root: new Uint8Array(32), chainSecrets: [], current, byId };
};
const tenant = tenantWith(1);

test('opens what it sealed, the empty value too, and never seals twice alike', () => {
  for (const plain of [utf8('tokens of a session'), new Uint8Array(0)]) {
    const sealed = sealBytes(tenant, 'c', plain);
    assert.deepEqual(new Uint8Array(openBytes(tenant, 'c', sealed)!), plain);
    assert.notDeepEqual(sealBytes(tenant, 'c', plain), sealed);
  }
});

test('another context, another tenant, any flipped byte and any truncation open nothing', () => {
  const sealed = sealBytes(tenant, 'session-tokens:a', utf8('secret'));
  assert.equal(openBytes(tenant, 'session-tokens:b', sealed), undefined);
  assert.equal(openBytes(tenantWith(2), 'session-tokens:a', sealed), undefined);
  for (let index = 0; index < sealed.length; index++) {
    const damaged = sealed.slice();
    damaged[index]! ^= 1;
    assert.equal(openBytes(tenant, 'session-tokens:a', damaged), undefined, `byte ${index}`);
    assert.equal(openBytes(tenant, 'session-tokens:a', sealed.subarray(0, index)), undefined, `length ${index}`);
  }
});
