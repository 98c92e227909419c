/**
 * Operators: functions of one row, called with batches of rows. What `dflow_plugin` is for Rust.
 *
 *     class Upper extends Operator {
 *       static description = { name: "upper", shape: "map", summary: "in capitals", ports: [port("text", "utf8", "what to change")] };
 *       open(settings, columns) { return opened("map", [arrow.of("upper", "utf8")]); }
 *       process([text], emit) { emit.map([text.toArray().map((value) => value?.toUpperCase() ?? null)]); }
 *     }
 *
 * An operator may carry nothing from one row to the next: the host cuts, repeats and spreads batches as it likes.
 */

import { Built, build } from "./columns.js";

export const INTERFACE = "0.1.0";

/** Why an operator can't be opened, or gives up on a batch. `kind` is `settings`, `schema`, `data`, `unsupported`, `denied` or `other`. */
export class Failure extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** An input: its name, the types that it takes (`utf8`, `int64` and so on, or `any`), and whether its column may be missing. */
export function port(name, types, summary = "", optional = false) {
  return { name, types: [types].flat(), summary, optional };
}

/** What `open` answers: how many rows come of one with these settings, and the new columns. */
export function opened(shape, columns = []) {
  return { shape, columns };
}

/** An operator. Its class has a `description`; an instance is made for each `open`. */
export class Operator {
  /** Checks settings and input columns (fields), and gives what comes out. Throws `Failure`. */
  open(_settings, _columns) {
    throw new Failure("other", "this operator doesn't open");
  }

  /** Works on a batch: `columns` are `Column`s in the ports' order, results go to `emit`. */
  process(_columns, _emit) {}
}

/** Takes what comes of a batch. Parents ascend, over all calls and errors. */
export class Emitter {
  wanted = true;
  #errors = [];
  #send;

  constructor(fields, rows, send) {
    Object.assign(this, { fields, rows });
    this.#send = send;
  }

  /** Says that a row has no result. It goes out with what is emitted next, or at the end. */
  error(row, kind, message) {
    this.#errors.push({ row, kind, message });
  }

  /** One row for each row of the batch that has no error, in their order. */
  map(columns) {
    return this.#emit(columns);
  }

  /** Rows with their parents' places in the batch. False when the host wants no more. */
  rowsOf(columns, parents) {
    return this.#emit(columns, parents);
  }

  /** Says what is left to be said. */
  finish() {
    if (this.#errors.length) this.#emit(this.fields.map(() => []), []);
  }

  #emit(columns, parents) {
    if (columns.length !== this.fields.length) throw new Error(`${columns.length} columns were emitted, ${this.fields.length} were announced`);
    const built = new Built();
    this.fields.forEach((field, place) => build(field, columns[place], built));
    return this.send(built, columns.length ? columns[0].length : parents?.length ?? 0, parents);
  }

  /** Sends arrays that are built already. */
  send(built, rows, parents) {
    const errors = this.#errors.sort((a, b) => a.row - b.row);
    this.#errors = [];
    if (!parents && rows + errors.length !== this.rows) throw new Error(`${rows} rows and ${errors.length} errors came of ${this.rows}`);
    if (!parents && errors.length) {
      const failed = new Set(errors.map((error) => error.row));
      parents = Array.from({ length: this.rows }, (_, row) => row).filter((row) => !failed.has(row));
    }
    const of = parents && new Uint8Array(Uint32Array.from(parents).buffer);
    this.wanted = this.#send(rows, built.nodes, built.buffers, of, errors);
    return this.wanted;
  }
}

/** The document of a component with these operators. */
export function describe(plugin, version, summary, operators) {
  const one = ({ description }) => ({
    version: "0.1.0", summary: "", ports: [], any_columns: false, rejects_rows: false, settings: { type: "object" }, wants: [], profile: "pure", streaming: false, ...description,
  });
  return { describe: 1, interface: INTERFACE, plugin, version, summary, operators: operators.map(one) };
}
