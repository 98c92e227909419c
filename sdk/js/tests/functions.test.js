/** Functions of `js` stages, called as the sandbox calls them, in plain JavaScript. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { listOf, of } from "../src/arrow.js";
import { Call, Imports, Signature } from "../src/interpreter/functions.js";
import { batch, run } from "../src/testing.js";

const settings = (text, { files = {}, function: name = null, ...more } = {}) => {
  const all = { "own.js": text, ...files };
  return { files: all, names: Object.fromEntries(Object.keys(all).map((path) => [path, `ops/${path}`])), entry: "own.js", function: name, ...more };
};
const call = (text, given, more) => run(Call, settings(text, more), given);
const returns = (name, format) => [{ name, format }];
const TEXT = { text: ["utf8", ["a b", null, "grüße aus", ""]] };

test("a value for each", () => {
  const ran = call("/** @returns {int?} */\nexport function words(text) { return text === null ? null : text.split(' ').filter(Boolean).length; }", TEXT);
  assert.deepEqual(ran.rows, [{ words: 2 }, { words: null }, { words: 2 }, { words: 0 }]);
  assert.equal(ran.fields[0].format, "l");
});

test("an object for each, named values, arrows and plain scripts", () => {
  const text = "/** What it is about.\n * @param {{text: string}} row\n * @returns {{first: string, sizes: number[]}}\n */\nexport const cut = ({ text, least = 1 }) => ({ first: text.slice(0, least), sizes: [text.length] });";
  const given = { text: ["utf8", ["ab", "c"]] };
  assert.deepEqual(call(text, given).rows, [{ first: "a", sizes: [2] }, { first: "c", sizes: [1] }]);
  assert.deepEqual(call(text, given, { with: { least: 2 } }).rows[0].first, "ab");
  const filter = call("/** @returns {{first: string} | null} */\nfunction some(text) { return text.length > 1 ? { first: text[0] } : null }", given);
  assert.deepEqual([filter.shape, filter.parents], ["filter", [0]]);
});

test("many or none", () => {
  const text = "/** @yields {string} */\nexport function* words(text) { yield* text.split(' ').filter(Boolean); if (text === 'b') throw new Error('no b'); }";
  const ran = call(text, { text: ["utf8", ["x y", "b", "", "z"]] });
  assert.deepEqual([ran.shape, ran.parents, ran.rows.map(({ words }) => words)], ["expand", [0, 0, 3], ["x", "y", "z"]]);
  assert.deepEqual([...ran.errors.keys()], [1]);
  const many = call("/** @yields {int} */\nfunction* n(x) { for (let i = 0; i < x; i++) yield i }", { x: ["int64", [10000, 3, 5000]] });
  assert.equal(many.rows.length, 15003);
});

test("a row that throws harms no other, and says where", () => {
  const ran = call("/** @returns {number} */\nexport function half(n) {\n  if (n === 0) throw new RangeError('no half of nothing');\n  return 10 / n;\n}", { n: ["int64", [1, 0, 5]] });
  assert.deepEqual([ran.rows, ran.parents], [[{ half: 10 }, { half: 2 }], [0, 2]]);
  const [kind, message] = ran.errors.get(1);
  assert.equal(kind, "RangeError");
  assert.match(message, /^no half of nothing\n(.*\n)*  ops\/own\.js:3 in half$/);
});

test("a value of another type is its row's error", () => {
  const ran = call("/** @returns {string} */\nfunction f(n) { return n === 1 ? n : String(n) }", { n: ["int64", [0, 1, 2]] });
  assert.deepEqual(ran.rows.map(({ f }) => f), ["0", "2"]);
  assert.deepEqual(ran.errors.get(1), ["wrong-type", "`f`: `f` is to be text, and is 1 (number)"]);
  const half = call("function* f(n) { for (let i = 0; i < 9000; i++) yield n === 1 && i === 4500 ? 'x' : i }", { n: ["int64", [0, 1, 2]] }, { returns: returns("v", "l") });
  assert.deepEqual([half.rows.length, [...half.errors.keys()]], [18000, [1]]);
});

test("yes or no", () => {
  const ran = call("export function odd(n) { return n === 2 ? 'no' : n % 2 === 1 }", { n: ["int64", [1, 2, 3, 4]] }, { rows: "filter" });
  assert.deepEqual([ran.parents, ran.errors.get(1)[0]], [[0, 2], "wrong-type"]);
});

test("whole rows", () => {
  const text = "/** @param {object} row\n * @returns {string} */\nexport function f(row) { return JSON.stringify(row) }";
  assert.deepEqual(call(text, { text: ["utf8", ["a"]], n: ["int64", [1]] }).rows, [{ f: '{"text":"a","n":1}' }]);
});

test("batches", () => {
  const text = "import { batch } from 'dflow';\nexport const double = batch((n) => n.values.map((value) => 2n * value));\nexport const both = batch(({ n, text }) => ({ n2: n.toArray().map((value) => value + 1), same: text }));\nexport const short = batch((n) => [1]);";
  const given = { n: ["int64", [1, 2, 3]] };
  assert.deepEqual(call(text, given, { function: "double", returns: returns("d", "l") }).rows, [{ d: 2 }, { d: 4 }, { d: 6 }]);
  const both = call(text, { ...given, text: ["utf8", ["x", null, "ü"]] }, { function: "both", returns: [...returns("n2", "l"), ...returns("same", "u")] });
  assert.deepEqual(both.rows, [{ n2: 2, same: "x" }, { n2: 3, same: null }, { n2: 4, same: "ü" }]);
  assert.throws(() => call(text, given, { function: "short", returns: returns("d", "l") }), /gave 1 values for 3 rows/);
});

test("neighbours", () => {
  const files = { "helpers.js": "import { value } from './parts/inner.js';\nexport const twice = (n) => 2 * n * value;", "parts/inner.js": "export const value = 7;" };
  const text = "import { twice } from './helpers.js';\nimport fs from 'fs';\n/** @returns {int} */\nexport function f(n) { return twice(n) }";
  assert.deepEqual(new Imports().open(settings(text)).columns.map(({ name }) => name), ["helpers.js"]);
  assert.deepEqual(new Imports().open(settings(text, { files })).columns, []);
  assert.deepEqual(new Imports().open(settings("import './a/b.mjs'", { files: { "a/b.mjs": "import '../c.js'" } })).columns.map(({ name }) => name), ["c.js"]);
  assert.throws(() => call(text, { n: ["int64", [2]] }, { files }), /there is no module `fs` in the sandbox/);
  assert.deepEqual(call(text.replace("import fs from 'fs';", ""), { n: ["int64", [2]] }, { files }).rows, [{ f: 28 }]);
});

test("parameters", () => {
  const found = (text) => new Signature().open(settings(text)).columns.map(({ name, nullable, metadata }) => [name, nullable, metadata.length]);
  assert.deepEqual(found("export function f(a, b = 1) {}\nfunction _g() {}"), [["a", false, 0], ["b", true, 0]]);
  assert.deepEqual(found("export default ({ a, b = 2, ...rest }) => a"), [["a", false, 0], ["b", true, 0], ["…", true, 1]]);
});

test("what is wrong is said", () => {
  for (const [text, name, words] of [
    ["export function f( {\n}", null, /^ops\/own\.js:\d: .*nexpected token/],
    ["export function f(a) {}", "g", /`ops\/own.js` has no function `g`; it has `f`/],
    ["export function f() {}\nexport function g() {}", null, /is to have one function, and has `f`, `g`/],
    ["null.x; export function f() {}", null, /can't be loaded: TypeError: .*\n  ops\/own\.js:1/],
    ["export function f(...a) {}", null, /its parameters are to be the names of columns/],
    ["export async function f(a) {}", null, /`f` is async/],
    ["/** @returns {Weird} */\nexport function f(a) {}", null, /which type of column `Weird` is/],
    ["export function f(a) {}", null, /isn't said which columns `f` gives/],
  ]) {
    assert.throws(() => call(text, { a: ["int64", [1]] }, { function: name }), (error) => words.test(error.message) || assert.fail(`${text}: ${error.message}`));
  }
});

test("all types come back", () => {
  const struct = of("s", "+s", [of("a", "int32"), of("b", "utf8")]);
  const entries = of("entries", "+s", [of("key", "utf8", [], false), of("value", "int64")], false);
  for (const [type, values] of [
    ["bool", [true, null, false]], ["int8", [-128, 127, null]], ["uint64", [2n ** 64n - 1n, 5, null]], ["int64", [-(2n ** 63n), 3, null]], ["float32", [1.5, null]],
    ["float64", [1e300, null]], ["utf8", ["a", "ü", null, ""]], ["binary", [Uint8Array.of(0), null]], ["large_utf8", ["x", null]], ["date32", [new Date("2026-11-27"), null]],
    ["tsu:UTC", [new Date("2026-01-02T03:04:05.006Z"), null]], ["tsn:", [new Date("1969-01-02T03:04:05Z")]], ["null", [null, null]], ["w:2", [Uint8Array.of(1, 2)]], ["d:10,2", ["12.34", "-0.01", null]],
    [listOf("l", of("item", "utf8")), [["a", null], [], null]], [of("f", "+w:2", [of("item", "float32")]), [[1, 2], null]], [struct, [{ a: 1, b: null }, null]],
    [of("m", "+m", [entries]), [new Map([["a", 1]]), new Map(), null]],
  ]) {
    const [, [column]] = batch({ x: [type, values] });
    assert.deepEqual(column.toArray(), values, JSON.stringify(type));
  }
});
