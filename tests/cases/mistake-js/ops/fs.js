import { readFileSync } from "node:fs";
/** @returns {string} */
export function f(text) {
  return text;
}
