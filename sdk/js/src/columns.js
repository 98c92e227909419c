/**
 * Columns: Arrow arrays as views over the bytes that came in, and bytes made of JavaScript's values.
 *
 * `Column` reads. Numbers are typed arrays (`column.values`); everything else becomes JavaScript's values when it is asked for (`column.at(i)`,
 * `column.toArray()`). `build` writes an array's length, number of nulls and buffers, and those of its children, in the contract's order.
 *
 * int64 and uint64 are numbers as far as these are exact, and bigints beyond; dates and timestamps are `Date`s; binary is a `Uint8Array`.
 */

import { UNITS, arrayOf, typeName } from "./arrow.js";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);
const DAY = 86_400_000;

/** A value that isn't of its column's type: `row` is its place. */
export class WrongValue extends Error {
  constructor(row, message) {
    super(message);
    this.row = row;
  }
}

/** Bytes as a typed array of another kind; copied where they don't lie as it needs them. */
function cast(bytes, Type, length) {
  const size = Type.BYTES_PER_ELEMENT;
  const whole = length ?? Math.floor(bytes.length / size);
  if (bytes.byteOffset % size === 0) return new Type(bytes.buffer, bytes.byteOffset, whole);
  return new Type(bytes.slice(0, whole * size).buffer);
}

const raw = (typed) => new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
const small = (value) => (value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value);

/** An array of a batch. It is iterable, has `length` and `at(i)`, and `toArray()` makes all values; nulls are null. */
export class Column {
  #list;
  #buffers;

  constructor(field, length, nullCount, buffers, children = []) {
    Object.assign(this, { field, length, nullCount, children });
    this.#buffers = buffers;
  }

  /** Whether its texts come joined by U+0000, which one call takes apart. */
  get isJoined() {
    return this.field.format === "u" && this.length > 0 && !this.#buffers[1].length && !this.field.dictionary;
  }

  /** Its buffers, joined as they may be. */
  get given() {
    return this.#buffers;
  }

  /** Its buffers, as Arrow has them. */
  get buffers() {
    if (this.isJoined) {
      const built = new Built();
      text(this.field, texts(this), this.#buffers[0], 0, built);
      this.#buffers = built.buffers;
    }
    return this.#buffers;
  }

  /** The name of its type. */
  get type() {
    return typeName(this.field);
  }

  /** Its numbers as a typed array, nulls as whatever stands there; of dates and times the numbers that they are. */
  get values() {
    const Type = arrayOf(this.field.format);
    if (!Type) throw new TypeError(`a column of ${this.type} has no numbers; \`toArray()\` gives its values`);
    return cast(this.buffers[1], Type, this.length);
  }

  /** Where its texts or lists begin, and where the last one ends. */
  get offsets() {
    const large = "UZ".includes(this.field.format) || this.field.format === "+L";
    if (!this.buffers[1].length) return new Int32Array(1);
    if (!large) return cast(this.buffers[1], Int32Array, this.length + 1);
    return Float64Array.from(cast(this.buffers[1], BigInt64Array, this.length + 1), Number);
  }

  /** Whether the value at a place is there. */
  isValid(place) {
    return !this.nullCount || (this.#buffers.length > 0 && (this.#buffers[0][place >> 3] >> (place & 7)) % 2 === 1);
  }

  at(place) {
    return this.toArray()[place];
  }

  [Symbol.iterator]() {
    return this.toArray()[Symbol.iterator]();
  }

  /** Its values as JavaScript's: an array that is made once. */
  toArray() {
    if (!this.#list) {
      const values = this.#read();
      if (this.nullCount && this.field.format !== "n") {
        for (let row = 0; row < values.length; row++) if (!this.isValid(row)) values[row] = null;
      }
      this.#list = values;
    }
    return this.#list;
  }

  #read() {
    const { format, dictionary } = this.field;
    if (dictionary) {
      const values = this.children[0].toArray();
      return Array.from(this.values, (key) => values[Number(key)]);
    }
    const reader = READERS[format] ?? READERS[format.slice(0, 2)];
    if (reader) return reader(this);
    const values = Array.from(this.values);
    return typeof values[0] === "bigint" ? values.map(small) : values;
  }
}

function texts(column) {
  if (column.isJoined) return decoder.decode(column.given[2]).split("\0");
  const [, , data] = column.buffers;
  const { offsets, length } = column;
  const out = new Array(length);
  const text = decoder.decode(data);
  if (text.length === data.length) {
    // ASCII: a character a byte.
    for (let row = 0, begin = offsets[0]; row < length; row++) {
      const end = offsets[row + 1];
      out[row] = text.substring(begin, end);
      begin = end;
    }
    return out;
  }
  for (let row = 0; row < length; row++) out[row] = decoder.decode(data.subarray(offsets[row], offsets[row + 1]));
  return out;
}

function slices(column, of) {
  const { offsets } = column;
  return Array.from({ length: column.length }, (_, row) => of(offsets[row], offsets[row + 1]));
}

function lists(column) {
  const values = column.children[0].toArray();
  return slices(column, (begin, end) => values.slice(begin, end));
}

function bytes(column) {
  return slices(column, (begin, end) => column.buffers[2].slice(begin, end));
}

function fixed(column) {
  const width = Number(column.field.format.split(":")[1]);
  const values = column.children.length ? column.children[0].toArray() : column.buffers[1];
  return Array.from({ length: column.length }, (_, row) => values.slice(row * width, (row + 1) * width));
}

function structs(column) {
  const members = column.children.map((child) => [child.field.name, child.toArray()]);
  return Array.from({ length: column.length }, (_, row) => Object.fromEntries(members.map(([name, values]) => [name, values[row]])));
}

function maps(column) {
  const [keys, values] = column.children[0].children.map((child) => child.toArray());
  return slices(column, (begin, end) => new Map(keys.slice(begin, end).map((key, place) => [key, values[begin + place]])));
}

function instants(column) {
  const { format } = column.field;
  if (format === "tdD") return Array.from(column.values, (days) => new Date(days * DAY));
  if (format === "tdm") return Array.from(column.values, (value) => new Date(Number(value)));
  const [over, times] = UNITS[format[2]];
  return Array.from(column.values, (value) => new Date(Number((BigInt(value) * times) / over)));
}

const plain = (column) => Array.from(column.values, (value) => (typeof value === "bigint" ? small(value) : value));

function decimals(column) {
  const [, scale, bits = 128] = column.field.format.slice(2).split(",").map(Number);
  const width = bits / 8;
  return Array.from({ length: column.length }, (_, row) => {
    let value = 0n;
    for (let place = width - 1; place >= 0; place--) value = (value << 8n) | BigInt(column.buffers[1][row * width + place]);
    return point(BigInt.asIntN(bits, value), scale);
  });
}

/** A decimal number as text: JavaScript has no such numbers. */
function point(value, scale) {
  if (scale <= 0) return String(value * 10n ** BigInt(-scale));
  const digits = String(value < 0n ? -value : value).padStart(scale + 1, "0");
  return `${value < 0n ? "-" : ""}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function halves(column) {
  const words = cast(column.buffers[1], Uint16Array, column.length);
  return Array.from(words, (word) => {
    const [sign, exponent, fraction] = [word >> 15 ? -1 : 1, (word >> 10) & 31, word & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
  });
}

const READERS = {
  n: (column) => new Array(column.length).fill(null),
  b: (column) => Array.from({ length: column.length }, (_, row) => ((column.buffers[1][row >> 3] >> (row & 7)) & 1) === 1),
  e: halves, u: texts, U: texts, z: bytes, Z: bytes, "+l": lists, "+L": lists, "+w": fixed, "w:": fixed, "+s": structs, "+m": maps,
  td: instants, ts: instants, tt: plain, tD: plain, "d:": decimals,
};

/** The columns of a batch. */
export function read(fields, nodes, buffers) {
  let [node, buffer] = [0, 0];
  const one = (field) => {
    const { length, nullCount, buffers: own } = nodes[node++];
    const mine = Array.from({ length: own }, () => buffers[buffer++]);
    return new Column(field, length, nullCount, mine, field.children.map(one));
  };
  return fields.map(one);
}

/** Arrays as the contract has them. */
export class Built {
  nodes = [];
  buffers = [];

  node(length, nullCount, ...buffers) {
    this.nodes.push({ length, nullCount, buffers: buffers.length });
    this.buffers.push(...buffers);
  }
}

/**
 * Writes values as an array of a field; `top` for a column, whose texts may be joined, and not for what is below one. Throws `WrongValue` with the
 * place of the first that isn't of the field's type.
 */
export function build(field, values, into, top = false) {
  if (values instanceof Column) {
    if (values.field.format === field.format && !values.field.dictionary) return copied(values, into, top);
    values = values.toArray();
  }
  const Type = arrayOf(field.format);
  if (Type && values instanceof Type && !field.children.length) return into.node(values.length, 0, NOTHING, raw(values));
  if (!Array.isArray(values)) values = Array.from(values);
  if (field.format === "u" && (top ? joinedText(values, into) : plainText(values, into))) return;
  let nulls = 0;
  for (let row = 0; row < values.length; row++) if (values[row] === null || values[row] === undefined) nulls++;
  if (nulls && !field.nullable) {
    throw new WrongValue(values.findIndex((value) => value === null || value === undefined), `\`${field.name}\` is null, and it may not be`);
  }
  const valid = nulls ? bits(values, (value) => value !== null && value !== undefined) : NOTHING;
  if (nulls && top && field.format === "u" && joinedText(values.map((value) => value ?? ""), into, nulls, valid)) return;
  const writer = WRITERS[field.format] ?? WRITERS[field.format.slice(0, 2)] ?? (Type && numbers);
  if (!writer) throw new WrongValue(0, `\`${field.name}\` is of type ${typeName(field)}, which JavaScript can't make yet`);
  writer(field, values, valid, nulls, into);
}

/** Writes text without nulls that is ASCII alone, in one loop; says whether it was. Without a JIT each loop costs as much as what people do with a row. */
function plainText(values, into) {
  const { length } = values;
  const ends = new Int32Array(length + 1);
  let end = 0;
  for (let row = 0; row < length; row++) {
    const value = values[row];
    if (typeof value !== "string") return false;
    ends[row + 1] = end += value.length;
  }
  const data = encoder.encode(values.join(""));
  if (data.length !== end || end > 2147483647) return false;
  into.node(length, 0, NOTHING, raw(ends), data);
  return true;
}

/** Writes text joined by U+0000: the one loop that is JavaScript's looks at types. Says whether it could. */
function joinedText(values, into, nulls = 0, valid = NOTHING) {
  const { length } = values;
  for (let row = 0; row < length; row++) if (typeof values[row] !== "string") return false;
  if (!length || values.join("").includes("\0")) return false;
  const data = encoder.encode(values.join("\0"));
  if (data.length > 2147483647) return false;
  into.node(length, nulls, valid, NOTHING, data);
  return true;
}

function copied(column, into, top) {
  into.node(column.length, column.nullCount, ...(top ? column.given : column.buffers));
  for (const child of column.children) copied(child, into);
}

function bits(values, is) {
  const out = new Uint8Array(Math.max(1, (values.length + 7) >> 3));
  for (let row = 0; row < values.length; row++) if (is(values[row])) out[row >> 3] |= 1 << (row & 7);
  return out;
}

/** A value as errors show it. */
export function shown(value) {
  let text;
  try {
    text = typeof value === "bigint" ? `${value}n` : typeof value === "function" ? "a function" : JSON.stringify(value) ?? String(value);
  } catch {
    text = String(value);
  }
  const kind = value === null ? "null" : Array.isArray(value) ? "array" : typeof value === "object" ? value.constructor?.name ?? "object" : typeof value;
  return `${text.length <= 60 ? text : `${text.slice(0, 57)}…`} (${kind})`;
}

const wrong = (field, row, what, value) => new WrongValue(row, `\`${field.name}\` is to be ${what}, and is ${shown(value)}`);

function numbers(field, values, valid, nulls, into) {
  const Type = arrayOf(field.format);
  const out = new Type(values.length);
  const convert = CONVERTERS[field.format.slice(0, 2)] ?? (Type === BigInt64Array || Type === BigUint64Array ? whole : Type === Float64Array || Type === Float32Array ? float : integer);
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value === null || value === undefined) continue;
    const made = convert(value, field.format);
    out[row] = made ?? 0;
    if (made === undefined || (typeof made === "bigint" ? out[row] !== made : convert !== float && out[row] !== made)) {
      throw wrong(field, row, typeName(field), value);
    }
  }
  into.node(values.length, nulls, valid, raw(out));
}

const float = (value) => (typeof value === "number" ? value : typeof value === "bigint" ? Number(value) : undefined);
const integer = (value) => (typeof value === "bigint" ? Number(value) : Number.isInteger(value) ? value : typeof value === "boolean" ? Number(value) : undefined);
const whole = (value) => (typeof value === "bigint" ? value : Number.isInteger(value) ? BigInt(value) : typeof value === "boolean" ? BigInt(value) : undefined);

function instant(value, format) {
  const time = value instanceof Date ? value.getTime() : NaN;
  if (Number.isNaN(time)) return undefined;
  if (format === "tdD") return Math.floor(time / DAY);
  if (format === "tdm") return BigInt(Math.floor(time / DAY)) * BigInt(DAY);
  const [over, times] = UNITS[format[2]];
  return (BigInt(Math.trunc(time)) * over) / times;
}

const CONVERTERS = { td: instant, ts: instant, tt: (value, format) => (format === "tts" || format === "ttm" ? integer(value) : whole(value)), tD: whole };

function booleans(field, values, valid, nulls, into) {
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (value !== true && value !== false && value !== null && value !== undefined) throw wrong(field, row, "a boolean", value);
  }
  into.node(values.length, nulls, valid, bits(values, (value) => value === true));
}

/** Offsets of values with these lengths. */
function ends(field, values, length) {
  const large = "UZ".includes(field.format) || field.format === "+L";
  const out = large ? new BigInt64Array(values.length + 1) : new Int32Array(values.length + 1);
  let end = 0;
  for (let row = 0; row < values.length; row++) {
    end += length(values[row]);
    out[row + 1] = large ? BigInt(end) : end;
  }
  if (!large && end > 2147483647) throw new WrongValue(0, `\`${field.name}\` has more than 2 GiB in one batch; emit fewer rows at a time`);
  return raw(out);
}

function text(field, values, valid, nulls, into) {
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (typeof value !== "string" && value !== null && value !== undefined) throw wrong(field, row, "text", value);
  }
  // What is joined leaves nulls out.
  const joined = values.join("");
  const data = encoder.encode(joined);
  if (data.length === joined.length) return into.node(values.length, nulls, valid, ends(field, values, (value) => value?.length ?? 0), data);
  const each = values.map((value) => (value ? encoder.encode(value) : NOTHING));
  into.node(values.length, nulls, valid, ends(field, each, (value) => value.length), together(each));
}

function together(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    out.set(part, place);
    place += part.length;
  }
  return out;
}

function binary(field, values, valid, nulls, into) {
  const each = values.map((value, row) => {
    if (value === null || value === undefined) return NOTHING;
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (!ArrayBuffer.isView(value)) throw wrong(field, row, "bytes (a Uint8Array)", value);
    return raw(value);
  });
  into.node(values.length, nulls, valid, ends(field, each, (value) => value.length), together(each));
}

function fixedBinary(field, values, valid, nulls, into) {
  const width = Number(field.format.slice(2));
  const each = values.map((value, row) => {
    if (value === null || value === undefined) return new Uint8Array(width);
    if (!(value instanceof Uint8Array) || value.length !== width) throw wrong(field, row, `${width} bytes`, value);
    return value;
  });
  into.node(values.length, nulls, valid, together(each));
}

/** The items of lists; errors name the row whose list it is. */
function items(field, values, into) {
  const every = values.map((value, row) => {
    if (value === null || value === undefined) return [];
    if (typeof value === "string" || typeof value[Symbol.iterator] !== "function") throw wrong(field, row, "a list", value);
    return Array.isArray(value) ? value : Array.from(value);
  });
  try {
    build({ ...field.children[0], name: `${field.name}[…]` }, every.flat(1), into);
  } catch (error) {
    if (!(error instanceof WrongValue)) throw error;
    let end = 0;
    throw new WrongValue(every.findIndex((list) => (end += list.length) > error.row), error.message);
  }
  return every;
}

function list(field, values, valid, nulls, into) {
  const inner = new Built();
  const every = items(field, values, inner);
  into.node(values.length, nulls, valid, ends(field, every, (value) => value.length));
  into.nodes.push(...inner.nodes);
  into.buffers.push(...inner.buffers);
}

function fixedList(field, values, valid, nulls, into) {
  const width = Number(field.format.slice(3));
  if (nulls && !field.children[0].nullable) throw wrong(field, values.findIndex((value) => value === null || value === undefined), `a list of ${width}`, null);
  const full = values.map((value, row) => {
    if (value === null || value === undefined) return new Array(width).fill(null);
    if (value.length !== width) throw wrong(field, row, `a list of ${width}`, value);
    return value;
  });
  const inner = new Built();
  items(field, full, inner);
  into.node(values.length, nulls, valid);
  into.nodes.push(...inner.nodes);
  into.buffers.push(...inner.buffers);
}

const ZERO = { u: "", z: NOTHING, b: false };

function struct(field, values, valid, nulls, into) {
  values.forEach((value, row) => {
    if (value !== null && value !== undefined && typeof value !== "object") throw wrong(field, row, "an object", value);
  });
  into.node(values.length, nulls, valid);
  for (const child of field.children) {
    const none = child.nullable ? null : ZERO[child.format] ?? 0;
    const members = values.map((value) => (value === null || value === undefined ? none : value[child.name] ?? null));
    build({ ...child, name: `${field.name}.${child.name}` }, members, into);
  }
}

function map(field, values, valid, nulls, into) {
  const every = values.map((value, row) => {
    if (value === null || value === undefined) return [];
    if (typeof value !== "object") throw wrong(field, row, "a Map or an object", value);
    return value instanceof Map ? [...value] : Object.entries(value);
  });
  into.node(values.length, nulls, valid, ends(field, every, (value) => value.length));
  const all = every.flat(1);
  into.node(all.length, 0, NOTHING);
  field.children[0].children.forEach((child, place) => build({ ...child, name: `${field.name}[…]` }, all.map((entry) => entry[place]), into));
}

function decimal(field, values, valid, nulls, into) {
  const [precision, scale, size = 128] = field.format.slice(2).split(",").map(Number);
  const width = size / 8;
  const out = new Uint8Array(values.length * width);
  values.forEach((value, row) => {
    if (value === null || value === undefined) return;
    const found = /^([+-]?)(\d*)(?:\.(\d*))?$/.exec(String(value).trim());
    const fraction = (found?.[3] ?? "").replace(/0+$/, "");
    const digits = found && fraction.length <= Math.max(scale, 0) ? `${found[2]}${fraction.padEnd(Math.max(scale, 0), "0")}` : "";
    if (!digits || digits.replace(/^0+/, "").length > precision) throw wrong(field, row, `a number with ${precision} digits, ${scale} of them after the point`, value);
    let rest = BigInt.asUintN(size, found[1] === "-" ? -BigInt(digits) : BigInt(digits));
    for (let place = 0; place < width; place++, rest >>= 8n) out[row * width + place] = Number(rest & 255n);
  });
  into.node(values.length, nulls, valid, out);
}

const WRITERS = {
  n: (field, values, _, nulls, into) => {
    if (nulls !== values.length) throw wrong(field, values.findIndex((value) => value !== null && value !== undefined), "null", values.find((value) => value !== null));
    into.node(values.length, values.length);
  },
  b: booleans, u: text, U: text, z: binary, Z: binary, "w:": fixedBinary, "+l": list, "+L": list, "+w": fixedList, "+s": struct, "+m": map, "d:": decimal,
};
