/** dflow for JavaScript: functions and operators that run in the sandbox. `dflow/blobs`, `dflow/http` and `dflow/models` have types of their own beside them. */

/** A field of an Arrow schema: `format` is that of Arrow's C data interface (`u` utf8, `l` int64, `+l` a list, `+s` a struct and so on). */
export interface Field {
  name: string;
  format: string;
  nullable: boolean;
  children: Field[];
  metadata: [string, string][];
  ordered: boolean;
  dictionary: boolean;
}

export type Shape = "map" | "filter" | "expand";
export type Numbers =
  | Int8Array | Int16Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Uint32Array | BigUint64Array | Float32Array | Float64Array;

/** An array of a batch; nulls are null. int64 and uint64 are numbers as far as these are exact, and bigints beyond; dates are `Date`s, binary is `Uint8Array`. */
export class Column<T = any> implements Iterable<T | null> {
  readonly field: Field;
  readonly length: number;
  readonly nullCount: number;
  readonly buffers: Uint8Array[];
  readonly children: Column[];
  /** The name of its type. */
  readonly type: string;
  /** Its numbers, nulls as whatever stands there; of dates and times the numbers that they are. Throws a `TypeError` for other columns. */
  readonly values: Numbers;
  /** Where its texts or lists begin, and where the last one ends. */
  readonly offsets: Int32Array | Float64Array;
  /** Whether the value at a place is there. */
  isValid(place: number): boolean;
  at(place: number): T | null;
  /** Its values, made once. */
  toArray(): (T | null)[];
  [Symbol.iterator](): Iterator<T | null>;
}

/** What can be given as a column. */
export type Values = readonly unknown[] | Numbers | Column;

/** Marks a function that is given whole batches: each parameter is a `Column`, and it gives a column, or an object of columns by name. */
export function batch<F extends (...columns: any[]) => Values | Record<string, Values>>(given: F): F;

/** Why an operator can't be opened, or gives up on a batch. */
export class Failure extends Error {
  constructor(kind: "settings" | "schema" | "data" | "unsupported" | "denied" | "other", message: string);
  readonly kind: string;
}

export interface Port {
  name: string;
  types: string[];
  summary: string;
  optional: boolean;
}

/** An input: its name, the types that it takes (`utf8`, `int64` and so on, `file`, or `any`), and whether its column may be missing. */
export function port(name: string, types: string | string[], summary?: string, optional?: boolean): Port;

export interface Opened {
  shape: Shape;
  columns: Field[];
  slices?: Record<string, string>;
}

/**
 * What `open` answers: how many rows come of one with these settings, and the new columns. `slices` are the columns that are emitted as ranges of an
 * input column's values, so that no text is copied: `{ sentence: "text" }`. They are of the input column's type, utf8 or binary.
 */
export function opened(shape: Shape, columns?: Field[], slices?: Record<string, string>): Opened;

/**
 * The seed of each row, for an operator of the profile `seeded`: the same for a row in every run, and in every batch. What is chosen by chance is to
 * depend on nothing else.
 */
export function seeds(columns: Column[]): BigUint64Array;

export interface Description {
  name: string;
  shape: Shape;
  version?: string;
  summary?: string;
  ports?: Port[];
  any_columns?: boolean;
  rejects_rows?: boolean;
  settings?: object;
  wants?: ("blobs" | "http" | "models")[];
  /** `seeded`: its rows come with `seeds`; `open`: it may ask for what is granted. */
  profile?: "pure" | "seeded" | "open";
  /** Rows come one at a time, and what is emitted flows on before its row is done. */
  streaming?: boolean;
}

/** An operator: a function of one row, called with batches. Its class has a `description`; an instance is made for each `open`. */
export class Operator {
  static description: Description;
  /** Checks settings and input columns, and gives what comes out. Throws `Failure`. */
  open(settings: any, columns: Field[]): Opened;
  /** Works on a batch: `columns` are in the ports' order, results go to `emit`. */
  process(columns: Column[], emit: Emitter): void;
}

/** The ranges of a slice column, `[starts, ends]`: for each row bytes of its parent's value, on character boundaries when that is text. */
export type Ranges = [ArrayLike<number>, ArrayLike<number>];

/** Takes what comes of a batch. Parents ascend, over all calls and errors. Columns are in the order that `open` announced. */
export class Emitter {
  readonly fields: Field[];
  /** How many rows the batch has. */
  readonly rows: number;
  /** Whether the host wants more. */
  readonly wanted: boolean;
  /** Says that a row has no result. */
  error(row: number, kind: string, message: string): void;
  /** One row for each row of the batch that has no error, in their order. */
  map(columns: (Values | Ranges)[]): boolean;
  /** Rows with their parents' places in the batch. False when the host wants no more. */
  rowsOf(columns: (Values | Ranges)[], parents: ArrayLike<number>): boolean;
}

export namespace arrow {
  /** A field of a type by its name (`utf8`, `int64` …), or by a format with children. */
  function of(name: string, type: string, children?: Field[], nullable?: boolean): Field;
  /** A field of lists of a field. */
  function listOf(name: string, item: Field, nullable?: boolean): Field;
  /** The name of a field's type. */
  function typeName(field: Field): string;
}
