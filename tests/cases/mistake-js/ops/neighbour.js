import { x } from "./nowhere.js";
/** @returns {string} */
export function f(text) {
  return x;
}
