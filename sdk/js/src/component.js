/**
 * The component side: what the host calls, and what is called there. Only in a component, where the contract's imports are.
 *
 *     export const operators = component.exportsOf("words", "0.1.0", "what it is about", [Upper, Count]);
 */

import { emit } from "dflow:operator/emitting";
import { log } from "dflow:operator/logging";

import { flat, read as readFields } from "./arrow.js";
import { read, shown } from "./columns.js";
import { Emitter, Failure, describe, sliced } from "./operator.js";

const send = (rows, nodes, buffers, parents, slices, errors) => emit({ rows, nodes, buffers, parents, slices, errors });

/** Any error as a failure: one that got out would end the engine. */
function failure(error) {
  if (error instanceof Failure) return { tag: error.kind, val: error.message };
  return { tag: "other", val: error instanceof Error ? `${error}\n${error.stack ?? ""}`.trim() : `thrown: ${shown(error)}` };
}

/** What a component's module exports as `operators`. */
export function exportsOf(plugin, version, summary, operators) {
  const text = JSON.stringify(describe(plugin, version, summary, operators));
  const byName = new Map(operators.map((operator) => [operator.description.name, operator]));
  let open;
  return {
    describe: () => text,
    open(operator, settings, input) {
      try {
        const made = new (byName.get(operator))();
        const fields = readFields(input.fields);
        const answer = made.open(JSON.parse(settings), fields);
        const { shape, columns } = answer;
        open = { made, fields, columns, slices: sliced(answer, fields) };
        return { output: { fields: flat(columns) }, shape, slices: Array.from(open.slices, ([column, port]) => ({ column, port })) };
      } catch (error) {
        throw failure(error);
      }
    },
    process({ rows, nodes, buffers }) {
      try {
        const emitter = new Emitter(open.columns, rows, send, open.slices);
        open.made.process(read(open.fields, nodes, buffers), emitter);
        emitter.finish();
      } catch (error) {
        throw failure(error);
      }
    },
  };
}

// What waits for a network or a clock does nothing here, and its engine stops at it: better that it isn't there.
for (const name of ["fetch", "Request", "Response", "Headers", "setTimeout", "setInterval", "clearTimeout", "clearInterval", "addEventListener"]) {
  delete globalThis[name];
}

/** Words to people go to the stage's log. */
for (const [name, level] of Object.entries({ debug: "debug", log: "info", info: "info", warn: "warn", error: "error" })) {
  console[name] = (...words) => log(level, "print", words.map((word) => (typeof word === "string" ? word : shown(word))).join(" "));
}
