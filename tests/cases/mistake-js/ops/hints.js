/** @returns {Map} */
export function f(text, other, least) {
  return text;
}
