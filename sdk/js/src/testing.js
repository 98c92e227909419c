/**
 * Runs operators in plain JavaScript, through the same code that takes batches apart in a component: for tests.
 *
 *     const { rows, parents, errors } = run(Upper, {}, { text: ["utf8", ["a", null]] });
 */

import { of } from "./arrow.js";
import { Built, build, read } from "./columns.js";
import { Emitter } from "./operator.js";

/** Columns of a batch: `{ name: [type or field, values] }`. */
export function batch(given) {
  const built = new Built();
  const fields = Object.entries(given).map(([name, [type, values]]) => {
    const field = typeof type === "string" ? of(name, type) : { ...type, name };
    build(field, values, built);
    return field;
  });
  return [fields, read(fields, built.nodes, built.buffers)];
}

/** Opens an operator on columns and gives it all rows as one batch. `count` says how many they are where there are no columns. */
export function run(Operator, settings, given, count = 0) {
  const [fields, columns] = batch(given);
  const rows = columns.length ? columns[0].length : count;
  const made = new Operator();
  const { shape, columns: output } = made.open(settings, fields);
  const [out, parents, errors] = [[], [], new Map()];
  let last = -1;
  const emit = new Emitter(output, rows, (number, nodes, buffers, of, failed) => {
    const done = of ? Array.from(new Uint32Array(of.buffer)) : Array.from({ length: number }, (_, place) => parents.length + place);
    if (done.length !== number) throw new Error(`${number} rows and ${done.length} parents`);
    const mentioned = [...done, ...failed.map((error) => error.row)].sort((a, b) => a - b);
    if (done.some((parent, place) => place && parent < done[place - 1]) || mentioned.some((row) => row < last)) throw new Error("parents descend");
    last = mentioned.at(-1) ?? last;
    const made = read(output, nodes, buffers).map((column) => column.toArray());
    for (let row = 0; row < number; row++) out.push(Object.fromEntries(output.map((field, place) => [field.name, made[place][row]])));
    parents.push(...done);
    for (const { row, kind, message } of failed) errors.set(row, [kind, message]);
    return true;
  });
  made.process(columns, emit);
  emit.finish();
  const kept = parents.map((parent, place) => place).filter((place) => !errors.has(parents[place]));
  const ran = { shape, fields: output, rows: kept.map((place) => out[place]), parents: kept.map((place) => parents[place]), errors };
  if (shape === "map" && kept.length + errors.size !== rows) throw new Error("a row is neither done nor failed");
  return ran;
}
