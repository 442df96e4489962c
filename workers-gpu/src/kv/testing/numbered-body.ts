/** An object's bytes by its number: 50 to 350 KB that no other number has. */
export function bodyOf(number: number): Uint8Array {
  return Uint8Array.from(
    { length: 50_000 + number * 7_500 },
    (_, index) => (Math.imul(index + number, 2654435761) >>> 11) & 255,
  );
}
