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

/** The version of the contract that this is for; `componentize` binds what is imported from `dflow:operator` to it. */
export const INTERFACE = "0.1.1";

/** The column that holds the rows' seeds: the last one that a seeded operator gets. */
export const SEED = "__seed__";

/** Why an operator can't be opened, or gives up on a batch. `kind` is `settings`, `schema`, `data`, `unsupported`, `denied` or `other`. */
export class Failure extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** An input: its name, the types that it takes (`utf8`, `int64` and so on, `file`, or `any`), and whether its column may be missing. */
export function port(name, types, summary = "", optional = false) {
  return { name, types: [types].flat(), summary, optional };
}

/**
 * What `open` answers: how many rows come of one with these settings, and the new columns. `slices` are the columns that are emitted as ranges of an
 * input column's values, so that no text is copied: `{ sentence: "text" }`. They are of the input column's type, utf8 or binary.
 */
export function opened(shape, columns = [], slices = {}) {
  return { shape, columns, slices };
}

/** The position of each slice column's input column, by its own position. */
export function sliced({ columns, slices = {} }, fields) {
  const place = (within, name) => {
    const found = within.findIndex((field) => field.name === name);
    if (found < 0) throw new Failure("other", `a slice is of a column that isn't there: \`${name}\``);
    return found;
  };
  return new Map(Object.entries(slices).map(([column, port]) => [place(columns, column), place(fields, port)]));
}

/**
 * The seed of each row, for an operator of the profile `seeded`, as a `BigUint64Array`: the same for a row in every run, and in every batch. What is
 * chosen by chance is to depend on nothing else.
 */
export function seeds(columns) {
  const last = columns.at(-1);
  if (last?.field.name !== SEED) throw new Failure("schema", "no seeds came in; does the description say `profile: \"seeded\"`?");
  return last.values;
}

/** Numbers as the contract has them: uint32, as bytes. */
const places = (numbers) => new Uint8Array(Uint32Array.from(numbers).buffer);

/** An operator. Its class has a `description`; an instance is made for each `open`. */
export class Operator {
  /** Checks settings and input columns (fields), and gives what comes out. Throws `Failure`. */
  open(_settings, _columns) {
    throw new Failure("other", "this operator doesn't open");
  }

  /** Works on a batch: `columns` are `Column`s in the ports' order, results go to `emit`. */
  process(_columns, _emit) {}
}

/**
 * Takes what comes of a batch. Parents ascend, over all calls and errors.
 *
 * Columns are given in the order that `open` announced, a slice column as a pair `[starts, ends]`: for each row a range of bytes of its parent's value,
 * on character boundaries when that is text. A null has only the empty range.
 */
export class Emitter {
  wanted = true;
  #errors = [];
  #send;
  #sliced;

  constructor(fields, rows, send, sliced = new Map()) {
    Object.assign(this, { fields, rows });
    this.#send = send;
    this.#sliced = sliced;
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
    if (this.#errors.length) this.#emit(this.fields.map((_, place) => (this.#sliced.has(place) ? [[], []] : [])), []);
  }

  #emit(columns, parents) {
    if (columns.length !== this.fields.length) throw new Error(`${columns.length} columns were emitted, ${this.fields.length} were announced`);
    const [built, slices] = [new Built(), []];
    const rows = columns.length ? (this.#sliced.has(0) ? columns[0][0] : columns[0]).length : parents?.length ?? 0;
    this.fields.forEach((field, column) => {
      if (!this.#sliced.has(column)) return build(field, columns[column], built, true);
      const [starts, ends] = columns[column];
      if (starts.length !== rows || ends.length !== rows) throw new Error(`\`${field.name}\` has ${starts.length} starts and ${ends.length} ends for ${rows} rows`);
      slices.push({ column, starts: places(starts), ends: places(ends) });
    });
    return this.send(built, rows, parents, slices);
  }

  /** Sends arrays that are built already. */
  send(built, rows, parents, slices = []) {
    const errors = this.#errors.sort((a, b) => a.row - b.row);
    this.#errors = [];
    if (!parents && rows + errors.length !== this.rows) throw new Error(`${rows} rows and ${errors.length} errors came of ${this.rows}`);
    if (!parents && errors.length) {
      const failed = new Set(errors.map((error) => error.row));
      parents = Array.from({ length: this.rows }, (_, row) => row).filter((row) => !failed.has(row));
    }
    this.wanted = this.#send(rows, built.nodes, built.buffers, parents && places(parents), slices, errors);
    return this.wanted;
  }
}

/** The document of a component with these operators. */
export function describe(plugin, version, summary, operators) {
  const one = ({ description }) => ({
    version: "0.1.0", summary: "", ports: [], any_columns: false, rejects_rows: false, settings: { type: "object" }, wants: [], profile: "pure", streaming: false, joined_text: true, ...description,
  });
  return { describe: 1, interface: INTERFACE, plugin, version, summary, operators: operators.map(one) };
}
