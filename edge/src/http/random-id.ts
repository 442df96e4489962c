import { formatId, type IdKind } from '@longshore/core';

export const randomId = (kind: IdKind): string => formatId(kind, crypto.getRandomValues(new Uint8Array(16)));
