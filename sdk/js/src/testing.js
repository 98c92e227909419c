/**
 * Runs operators in plain JavaScript, through the same code that takes batches apart in a component: for tests.
 *
 *     const { rows, parents, errors } = run(Upper, {}, { text: ["utf8", ["a", null]] });
 */

import { of, typeName } from "./arrow.js";
import { Built, build, read } from "./columns.js";
import { Emitter, sliced } from "./operator.js";
import { said } from "./stand-in.js";

/** Columns of a batch: `{ name: [type or field, values] }`. */
export function batch(given) {
  const built = new Built();
  const fields = Object.entries(given).map(([name, [type, values]]) => {
    const field = typeof type === "string" ? of(name, type) : { ...type, name };
    build(field, values, built, true);
    return field;
  });
  return [fields, read(fields, built.nodes, built.buffers)];
}

/** Does something, during which `answer` answers each request that is sent: it gives a response or throws. */
export const answering = (answer, what) => saying({ response: (request) => ({ headers: [], body: new Uint8Array(0), ...answer(request) }) }, what);

/** Does something, during which `complete(model, prompt)` and `embed(model, text)` say what models say, or throw. */
export function modelling({ complete = said.completion, embed = said.vector }, what) {
  return saying({ completion: (...asked) => ({ finish: "stop", inputTokens: 0, outputTokens: 0, ...complete(...asked) }), vector: embed }, what);
}

/** Does something, during which a test says this in the host's place. */
function saying(more, what) {
  const before = { ...said };
  Object.assign(said, more);
  try {
    return what();
  } finally {
    Object.assign(said, before);
  }
}

/** Columns with the sizes of files in their place, and the files of each such column's position. */
function withFiles({ description }, given) {
  const ports = new Set((description.ports ?? []).filter(({ types }) => types.includes("file")).map(({ name }) => name));
  const files = new Map();
  const sizes = Object.entries(given).map(([name, [type, values]], place) => {
    if (!ports.has(name) || type !== "binary") return [name, [type, values]];
    files.set(place, values);
    return [name, ["uint64", values.map((file) => file?.length ?? null)]];
  });
  return [Object.fromEntries(sizes), files];
}

/** The values that ranges of an input column's values stand for. */
function resolved(field, column, parents, { starts, ends }) {
  if (field.format !== column.field.format || !"uz".includes(field.format)) throw new Error(`\`${field.name}\` is ${typeName(field)}, and ranges of ${column.type}`);
  const [from, to] = [starts, ends].map((places) => new Uint32Array(places.buffer));
  return parents.map((row, place) => {
    const value = column.at(row) ?? "";
    const whole = typeof value === "string" ? new TextEncoder().encode(value) : value;
    const [start, end] = [from[place], to[place]];
    const wrong = (what) => new Error(`\`${field.name}\`: the range ${start}..${end} of row ${row} ${what}`);
    if (start > end || end > whole.length) throw wrong(`is outside of its ${whole.length} bytes`);
    const part = whole.slice(start, end);
    if (field.format === "z") return part;
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(part);
    } catch {
      throw wrong("cuts a character");
    }
  });
}

/**
 * Opens an operator on columns and gives it all rows as one batch. `count` says how many they are where there are no columns. Slice columns are the text
 * or bytes that they stand for. What is given as `binary` for a port of files is read with `dflow/blobs`.
 */
export function run(Operator, settings, given, count = 0) {
  const [taken, files] = withFiles(Operator, given);
  const [fields, columns] = batch(taken);
  const rows = columns.length ? columns[0].length : count;
  const made = new Operator();
  const answer = made.open(settings, fields);
  const { shape, columns: output } = answer;
  const ports = sliced(answer, fields);
  const plain = output.filter((_, place) => !ports.has(place));
  const [out, parents, errors] = [[], [], new Map()];
  let last = -1;
  const emit = new Emitter(output, rows, (number, nodes, buffers, of, slices, failed) => {
    const done = of ? Array.from(new Uint32Array(of.buffer)) : Array.from({ length: number }, (_, place) => parents.length + place);
    if (done.length !== number) throw new Error(`${number} rows and ${done.length} parents`);
    const mentioned = [...done, ...failed.map((error) => error.row)].sort((a, b) => a - b);
    if (done.some((parent, place) => place && parent < done[place - 1]) || mentioned.some((row) => row < last)) throw new Error("parents descend");
    last = mentioned.at(-1) ?? last;
    const whole = read(plain, nodes, buffers);
    const made = output.map((field, place) =>
      ports.has(place) ? resolved(field, columns[ports.get(place)], done, slices.find(({ column }) => column === place)) : whole.shift().toArray());
    for (let row = 0; row < number; row++) out.push(Object.fromEntries(output.map((field, place) => [field.name, made[place][row]])));
    parents.push(...done);
    for (const { row, kind, message } of failed) errors.set(row, [kind, message]);
    return true;
  }, ports);
  const part = ({ port, row, offset, length }) => files.get(port)[row].slice(Number(offset), Number(offset) + length);
  saying({ part }, () => made.process(columns, emit));
  emit.finish();
  const kept = parents.map((parent, place) => place).filter((place) => !errors.has(parents[place]));
  const ran = { shape, fields: output, rows: kept.map((place) => out[place]), parents: kept.map((place) => parents[place]), errors };
  if (shape === "map" && kept.length + errors.size !== rows) throw new Error("a row is neither done nor failed");
  return ran;
}
