/**
 * Fields of Arrow schemas: names of types as pipelines write them, and format strings of Arrow's C data interface as the contract has them.
 *
 * A field is `{ name, format, nullable, children, metadata, ordered, dictionary }`.
 */

/** Types without parameters, by name. */
export const FORMATS = {
  null: "n", bool: "b", int8: "c", int16: "s", int32: "i", int64: "l", uint8: "C", uint16: "S", uint32: "I", uint64: "L",
  float16: "e", float32: "f", float64: "g", utf8: "u", binary: "z", large_utf8: "U", large_binary: "Z", date32: "tdD", date64: "tdm",
};
const NAMES = Object.fromEntries(Object.entries(FORMATS).map(([name, format]) => [format, name]));
const ARRAYS = {
  c: Int8Array, s: Int16Array, i: Int32Array, l: BigInt64Array, C: Uint8Array, S: Uint16Array, I: Uint32Array, L: BigUint64Array,
  f: Float32Array, g: Float64Array, tdD: Int32Array, tdm: BigInt64Array,
};
/** Units in a millisecond, as fractions. */
export const UNITS = { s: [1n, 1000n], m: [1n, 1n], u: [1000n, 1n], n: [1000000n, 1n] };

/** The typed array of a column of numbers, dates or times; undefined of any other. */
export function arrayOf(format) {
  if (/^t[stD]/.test(format)) return format === "tts" || format === "ttm" ? Int32Array : BigInt64Array;
  return ARRAYS[format];
}

/** A field of a type by its name, or by a format with children. */
export function of(name, type, children = [], nullable = true) {
  return { name, format: FORMATS[type] ?? type, nullable, children, metadata: [], ordered: false, dictionary: false };
}

/** A field of lists of a field. */
export function listOf(name, item, nullable = true) {
  return of(name, "+l", [{ ...item, name: "item" }], nullable);
}

/** The name of a field's type. */
export function typeName({ format, children, dictionary }) {
  if (dictionary) return `dictionary<${typeName(children[0])}>`;
  if (NAMES[format]) return NAMES[format];
  if (format === "+l" || format === "+L") return `list<${typeName(children[0])}>`;
  if (format.startsWith("+w:")) return `fixed_size_list<${typeName(children[0])}, ${format.slice(3)}>`;
  if (format === "+s") return `struct<${children.map((child) => `${child.name}: ${typeName(child)}`).join(", ")}>`;
  if (format === "+m") return `map<${children[0].children.map(typeName).join(", ")}>`;
  return format;
}

/** Fields, each with its children, of the contract's list in pre-order, where `children` is a number. */
export function read(fields) {
  let place = 0;
  const one = () => {
    const { name, format, nullable = true, ordered = false, children = 0, metadata = [] } = fields[place++];
    const inside = Array.from({ length: children }, one);
    return { name, format, nullable, ordered, metadata, children: inside, dictionary: format in ARRAYS && inside.length > 0 };
  };
  const all = [];
  while (place < fields.length) all.push(one());
  return all;
}

/** The contract's list in pre-order. */
export function flat(fields) {
  return fields.flatMap(({ name, format, nullable, ordered, children, metadata }) => [
    { name, format, nullable, ordered, children: children.length, metadata }, ...flat(children),
  ]);
}
