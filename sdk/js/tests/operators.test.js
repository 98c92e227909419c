/** Operators that do more than map columns, in plain JavaScript. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Operator, arrow, opened, port, seeds } from "dflow";
import { open, read } from "dflow/blobs";
import { send } from "dflow/http";
import { complete, embed } from "dflow/models";
import { answering, modelling, run } from "dflow/testing";

/** An operator of a function. */
function operator(process, { shape = "map", columns = [], slices, ...more }) {
  return class extends Operator {
    static description = { name: "made", shape, ...more };
    open() {
      return opened(shape, columns.map((column) => arrow.of(...column)), slices);
    }
    process(given, emit) {
      process(given, emit);
    }
  };
}

const bytes = (text) => new TextEncoder().encode(text);
const TEXT = { n: ["int64", [1, 2, 3]], text: ["utf8", ["größe", null, "ab"]] };

function slice(starts, ends, parents, error) {
  const columns = [["part", "utf8"], ["i", "int64"]];
  const made = operator((_, emit) => {
    if (error !== undefined) emit.error(error, "k", "m");
    emit.rowsOf([[starts, ends], parents.map((_, place) => place)], parents);
  }, { shape: "expand", columns, slices: { part: "text" } });
  return run(made, {}, TEXT);
}

test("slices are what they stand for", () => {
  const ran = slice([0, 4, 0, 0], [4, 7, 0, 1], [0, 0, 1, 2]);
  assert.deepEqual(ran.rows.map(({ part, i }) => [part, i]), [["grö", 0], ["ße", 1], ["", 2], ["a", 3]]);
  const less = slice([0, 0], [1, 0], [0, 2], 2);
  assert.deepEqual([less.rows, less.parents, [...less.errors.keys()]], [[{ part: "g", i: 0 }], [0], [2]]);
});

test("slices of bytes, and errors", () => {
  const columns = [["part", "binary"]];
  const ran = run(operator((_, emit) => {
    emit.error(0, "k", "m");
    emit.map([[[1], [2]]]);
  }, { columns, slices: { part: "data" } }), {}, { data: ["binary", [bytes("x"), Uint8Array.of(255, 254)]] });
  assert.deepEqual([ran.rows, ran.parents, [...ran.errors.keys()]], [[{ part: Uint8Array.of(254) }], [1], [0]]);
  const failed = run(operator((_, emit) => emit.error(0, "k", "m"), { columns, slices: { part: "data" } }), {}, { data: ["binary", [bytes("x")]] });
  assert.deepEqual([failed.rows, [...failed.errors.keys()]], [[], [0]]);
});

test("lies about slices are refused", () => {
  for (const [starts, ends, row, words] of [
    [[0], [3], 0, /`part`: the range 0\.\.3 of row 0 cuts a character/], [[0], [8], 0, /is outside of its 7 bytes/], [[2], [1], 0, /is outside/], [[0], [1], 1, /is outside of its 0 bytes/],
    [[0], [1, 2], 0, /`part` has 1 starts and 2 ends for 1 rows/],
  ]) {
    assert.throws(() => slice(starts, ends, [row]), words);
  }
  assert.throws(() => run(operator(null, { columns: [["part", "utf8"]], slices: { part: "none" } }), {}, TEXT), /a slice is of a column that isn't there: `none`/);
  const other = operator((_, emit) => emit.map([[[0, 0, 0], [0, 0, 0]]]), { columns: [["part", "utf8"]], slices: { part: "n" } });
  assert.throws(() => run(other, {}, TEXT), /`part` is utf8, and ranges of int64/);
});

test("seeds are the last column", () => {
  const made = operator((columns, emit) => emit.map([seeds(columns)]), { columns: [["seed", "uint64"]], profile: "seeded" });
  assert.deepEqual(run(made, {}, { text: ["utf8", ["a", "b"]], __seed__: ["uint64", [7, 2n ** 64n - 1n]] }).rows, [{ seed: 7 }, { seed: 2n ** 64n - 1n }]);
  assert.throws(() => run(made, {}, { text: ["utf8", ["a"]] }), /no seeds came in/);
});

test("many emissions of a row", () => {
  const made = operator(([n], emit) => {
    n.toArray().forEach((count, row) => {
      for (let i = 0; i < count; i++) emit.rowsOf([[i]], [row]);
    });
  }, { shape: "expand", columns: [["i", "int64"]], streaming: true });
  const ran = run(made, {}, { n: ["int64", [2, 0, 3]] });
  assert.deepEqual([ran.parents, ran.rows.map(({ i }) => i)], [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]);
});

test("parts of files", () => {
  const seen = [];
  const made = operator((columns, emit) => {
    const whole = open(columns, 1, 0);
    seen.push(whole.size, whole.read(), whole.read(3, 9), open(columns, 1, 1));
    assert.throws(() => whole.read(-1), /before the beginning of the file/);
    seen.push(...read([{ port: 1, row: 0, offset: 1, length: 2 }, { port: 1, row: 0, offset: 9, length: 2 }]));
    emit.map([columns[1]]);
  }, { columns: [["size", "uint64"]], ports: [port("name", "utf8"), port("content", "file")], wants: ["blobs"] });
  const ran = run(made, {}, { name: ["utf8", ["x", "y"]], content: ["binary", [bytes("abcde"), null]] });
  assert.deepEqual(ran.rows, [{ size: 5 }, { size: null }]);
  assert.deepEqual(seen, [5, bytes("abcde"), bytes("de"), null, bytes("bc"), bytes("")]);
  assert.match(read([{ port: 0, row: 0, offset: 0, length: 1 }])[0].message, /neither a host nor a test gives files here/);
});

test("what a test answers requests", () => {
  const requests = [{ url: "a", headers: [["k", "v"]] }, { url: "b" }, { method: "POST", url: "c", body: "body" }];
  const answer = ({ method, url, body }) => {
    if (url === "b") throw new Error("not reached");
    return { status: 200, headers: [["x", method]], body };
  };
  const [first, second, third] = answering(answer, () => send(requests));
  assert.deepEqual([first, third], [{ status: 200, headers: [["x", "GET"]], body: bytes("") }, { status: 200, headers: [["x", "POST"]], body: bytes("body") }]);
  assert.equal(second.message, "not reached");
  assert.equal(send(requests)[0].message, "neither a host nor a test answers requests here");
});

test("what a test says for models", () => {
  const prompts = [{ text: "a", maxTokens: 5 }, { text: "b", schema: { type: "object" } }];
  const model = { complete: (name, { text, schema, maxTokens }) => ({ text: `${name}: ${text}${schema}`, outputTokens: maxTokens }), embed: (_, text) => [text.length] };
  modelling(model, () => {
    const answer = (text, outputTokens) => ({ text, finish: "stop", inputTokens: 0, outputTokens });
    assert.deepEqual(complete("m", prompts), [answer("m: a", 5), answer('m: b{"type":"object"}', 0)]);
    assert.deepEqual(embed("m", ["ab"]), [[2]]);
  });
  for (const answer of [...complete("m", prompts), ...embed("m", ["ab"])]) assert.equal(answer.message, "neither a host nor a test answers for models here");
});
