/** Functions of all shapes. */

import { batch } from "dflow";
import { words } from "./helpers/count.js";

/** @returns {{words: int, first: string?} | null} */
export function counted({ text, least }) {
  if (text === null) return null;
  if (text.includes("bad")) throw new RangeError(`'${text}' is bad`);
  const found = words(text);
  return found.length < least ? null : { words: found.length, first: found[0] };
}

/** @yields {string} */
export function* each(text) {
  console.log(`cutting '${text}'`);
  yield* words(text);
}

export const shout = batch((word) => word.toArray().map((text) => text.toUpperCase()));

/** @returns {boolean} */
export const long = (word) => word.length > 3;
