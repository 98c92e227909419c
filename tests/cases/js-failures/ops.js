/** @returns {string} */
export function f(n) {
  if (n === 1) return 1;
  if (n === 2) return process.exit(3);
  if (n === 3) return f(n);
  if (n === 4) return "x".repeat(1 << 29) + Math.random();
  if (n === 5) for (;;);
  if (n === 6) throw "a word";
  if (n === 7) return fetch("http://169.254.169.254/latest/meta-data");
  if (n === 8) throw new TypeError("no", { cause: new Error("because") });
  if (n === 9) { const all = []; for (;;) all.push(new Uint8Array(1 << 20)); }
  return String(n);
}

export function* many(n) {
  if (n === 1) for (;;) yield "x";
  yield String(n);
}
