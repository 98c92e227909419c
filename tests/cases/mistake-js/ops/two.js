/** @returns {string} */
export function f(text) {
  return text;
}
/** @returns {string} */
export function g(text) {
  return text;
}
