import { readFileSync } from 'node:fs';

const TEXT = readFileSync(new URL('../../demo/text/constitution.md', import.meta.url), 'utf8');

/** Short questions of about the same length: what differs between the requests of a convoy. */
const SUBJECTS = [
  'Senators',
  'Judges',
  'Taxes',
  'Treaties',
  'States',
  'Treason',
  'Elections',
  'Debts',
  'Coinage',
  'War',
];
const OPENINGS = ['Who decides on', 'What is said of', 'Which section is about', 'What limits', 'Who pays for'];

/** Fifty of them differ; more repeat. */
export const question = (index: number): string =>
  `${OPENINGS[Math.floor(index / SUBJECTS.length) % OPENINGS.length]} ${SUBJECTS[index % SUBJECTS.length]}?`;

/** A document no earlier request has seen: it differs from every other in its first words. */
export const freshDocument = (serial: number, characters: number): string =>
  `Copy ${serial} of a document.\n\n${TEXT.slice(0, characters)}`;

export const DOCUMENT_CHARACTERS = TEXT.length;
