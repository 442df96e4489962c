/** Everyday words that the prose of the tasks is made of. */
export const ADJECTIVES =
  'quiet golden narrow gentle broken distant silver crooked humble bright frozen hollow modern patient rusty secret tiny velvet wooden ancient bitter curious dusty eager faded grand heavy idle jolly keen lively misty noble orange pale quick rapid salty tender useful vivid warm young amber brave calm dark early fresh'.split(
    ' ',
  );
export const NOUNS =
  'river garden lantern village harbor mountain kitchen teacher window bridge forest sailor market basket painter meadow engine castle violin doctor bakery orchard tunnel letter island pillow rabbit shepherd tower winter beacon candle desert falcon glacier hammer jacket kettle ladder mirror needle otter pebble quarry ribbon saddle temple uncle valley wagon'.split(
    ' ',
  );
const VERBS =
  'watched followed carried painted crossed visited remembered repaired measured noticed admired described borrowed covered greeted joined passed reached searched warmed'.split(
    ' ',
  );
const ENDINGS = [
  'before the rain began',
  'late in the evening',
  'without saying a word',
  'near the old road',
  'for the third time that week',
  'while the children slept',
  'as the season turned',
  'with great care',
  'on the way home',
  'just after breakfast',
];

/** An everyday sentence without numbers. `pick` draws from a list. */
export function proseSentence(pick: (from: readonly string[]) => string): string {
  return ` The ${pick(ADJECTIVES)} ${pick(NOUNS)} ${pick(VERBS)} the ${pick(ADJECTIVES)} ${pick(NOUNS)} ${pick(ENDINGS)}.`;
}
