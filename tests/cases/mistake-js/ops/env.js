const all = process.env;
/** @returns {string} */
export function f(text) {
  return text;
}
