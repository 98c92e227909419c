/** What is measured: `name` is done to so many texts, twice each; the sum of the results' lengths. */

const ROWS = 200000;

const WORKS = {
  none: (text) => text,
  upper: (text) => text.toUpperCase(),
  token2: (text) => {
    const begin = text.indexOf(" ") + 1;
    return text.slice(begin, text.indexOf(" ", begin));
  },
  regex: (text) => text.replace(/[0-9]+/g, "#"),
  field: (_, object) => JSON.parse(object).name,
  loop: (_text, _object, row) => {
    let sum = 0;
    for (let i = 0; i < 20; i++) sum += (row * i) & 7;
    return { length: sum & 1 };
  },
};

/** @param {string} name @returns {number} */
export function work(name) {
  const texts = [];
  const objects = [];
  for (let row = 0; row < ROWS; row++) {
    texts.push(`row ${row} of some words to look at, café ok`);
    objects.push(JSON.stringify({ id: row, name: texts[row], tags: ["a", "b"] }));
  }
  const each = WORKS[name];
  let sum = 0;
  for (let turn = 0; turn < 2; turn++) for (let row = 0; row < ROWS; row++) sum += each(texts[row], objects[row], row).length;
  return sum;
}
