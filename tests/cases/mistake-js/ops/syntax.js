export function f(text) {
  return (text;
}
