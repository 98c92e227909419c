/** What the benchmark's functions do, a row and a batch at a time. */

import { batch } from "dflow";

const second = (text) => {
  const begin = text.indexOf(" ") + 1;
  const end = text.indexOf(" ", begin);
  return text.slice(begin, end < 0 ? undefined : end);
};

export const upper = (text) => text.toUpperCase();
export const token2 = (text) => second(text);
export const regex = (text) => text.replace(/[0-9]+/g, "#");
export const field = (text) => JSON.parse(text).name;
export const upper_batch = batch((text) => text.toArray().map((each) => each.toUpperCase()));
export const token2_batch = batch((text) => text.toArray().map(second));
export const regex_batch = batch((text) => text.toArray().map((each) => each.replace(/[0-9]+/g, "#")));
export const field_batch = batch((text) => text.toArray().map((each) => JSON.parse(each).name));
