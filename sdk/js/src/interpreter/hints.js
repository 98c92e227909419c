/** Columns from JSDoc. */

import * as arrow from "../arrow.js";
import { Failure } from "../operator.js";

const PLAIN = { string: "u", number: "g", boolean: "b", bigint: "l", int: "l", integer: "l", Date: "tsu:UTC", Uint8Array: "z", null: "n", undefined: "n", void: "n" };
const MANY = /^(?:Iterable|Iterator|IterableIterator|Generator)$/;
const WRITTEN = 'say them in the pipeline: `returns = { name = "utf8" }`';

/** The comment before a function, whose text stands somewhere in that of its module. */
export function comment(code, text) {
  const place = code.indexOf(text);
  const before = place < 0 ? "" : code.slice(Math.max(0, place - 4000), place);
  return /\/\*\*((?:(?!\*\/)[^])*)\*\/[\w$\s.=(,;]*$/.exec(before)?.[1] ?? "";
}

/** The types that a comment gives: of what is returned, and of parameters by name. */
export function read(comment) {
  const lines = comment.replace(/^\s*\*? ?/gm, "");
  const types = { returns: undefined, parameters: {} };
  for (const { index, 1: tag } of lines.matchAll(/@(returns?|yields?|param|arg|argument)\s*\{/g)) {
    const begin = lines.indexOf("{", index);
    let [depth, end] = [0, begin];
    for (; end < lines.length; end++) {
      if (lines[end] === "{") depth++;
      if (lines[end] === "}" && --depth === 0) break;
    }
    const type = lines.slice(begin + 1, end).trim();
    if (/^return/.test(tag)) types.returns = type;
    else if (/^yield/.test(tag)) types.returns ??= `Iterable<${type}>`;
    else types.parameters[/^\s*\[?([\w$]+)/.exec(lines.slice(end + 1))?.[1]] = type;
  }
  return types;
}

/** A type's text as a tree: `{ name, of, members, nullable }`. */
export function parse(text) {
  const tokens = text.match(/[\w$.]+|"[^"]*"|'[^']*'|[^\s\w$]/g) ?? [];
  let place = 0;
  const take = (token) => tokens[place] === token && ++place;
  const need = (token) => {
    if (!take(token)) throw new Failure("settings", `the type \`${text}\` can't be read: \`${token}\` is missing`);
  };
  const one = () => {
    let nullable = Boolean(take("?"));
    let type;
    if (take("(")) {
      type = union();
      need(")");
    } else if (take("{")) {
      const members = [];
      while (!take("}")) {
        const name = tokens[place++];
        const optional = take("?");
        need(":");
        const of = union();
        members.push([name?.replace(/^["']|["']$/g, ""), { ...of, nullable: of.nullable || Boolean(optional) }]);
        if (!take(",") && !take(";") && tokens[place] !== "}") need("}");
      }
      type = { members };
    } else {
      type = { name: tokens[place++] };
      if (take(".")) type.name += tokens[place++];
      if (take("<")) {
        type.of = [union()];
        while (take(",")) type.of.push(union());
        need(">");
      }
    }
    while (take("[")) {
      need("]");
      type = { name: "Array", of: [type] };
    }
    nullable ||= Boolean(take("?"));
    return { ...type, nullable: type.nullable || nullable };
  };
  const union = () => {
    const all = [one()];
    while (take("|")) all.push(one());
    const rest = all.filter(({ name }) => !["null", "undefined"].includes(name));
    const texts = rest.filter(({ name }) => /^["']/.test(name ?? ""));
    if (texts.length > 1 && texts.length === rest.length) return { name: "string", nullable: rest.length < all.length };
    if (rest.length > 1) throw new Failure("settings", `the type \`${text}\` is several; a column has one; ${WRITTEN}`);
    return { ...(rest[0] ?? all[0]), nullable: rest.length < all.length || (rest[0] ?? all[0]).nullable };
  };
  const tree = union();
  if (place < tokens.length) throw new Failure("settings", `the type \`${text}\` can't be read from \`${tokens.slice(place).join("")}\` on`);
  return tree;
}

/** The column of a type. */
export function field(name, { name: type, of, members, nullable = false }) {
  if (members) return arrow.of(name, "+s", members.map(([member, inside]) => field(member, inside)), nullable);
  if (/^["']/.test(type ?? "")) return arrow.of(name, "utf8", [], nullable);
  if (PLAIN[type]) return arrow.of(name, PLAIN[type], [], nullable || PLAIN[type] === "n");
  if (type in arrow.FORMATS) return arrow.of(name, type, [], nullable);
  if ((type === "Array" || type === "ReadonlyArray") && of) return arrow.listOf(name, { ...field("item", of[0]), nullable: true }, nullable);
  if (type === "Float32Array") return arrow.listOf(name, arrow.of("item", "float32"), nullable);
  throw new Failure("settings", `it isn't known which type of column \`${type}\` is (of \`${name}\`); ${WRITTEN}`);
}

/** What a function's comment says that it gives: shape, columns, whether they are those of an object. */
export function returned(type, name, generates) {
  if (!type) return { shape: generates ? "expand" : undefined, output: undefined, isObject: false };
  let tree = parse(type);
  let shape = "map";
  if (MANY.test(tree.name ?? "") || generates) {
    shape = "expand";
    if (MANY.test(tree.name ?? "")) {
      if (!tree.of) return { shape, output: undefined, isObject: false };
      tree = tree.of[0];
    }
  }
  if (tree.members) {
    // Of an object, null is no row; of one value it is null.
    const output = tree.members.map(([member, of]) => field(member, of));
    return { shape: tree.nullable && shape === "map" ? "filter" : shape, output, isObject: true };
  }
  if (/^(object|Object|any|\*)$/.test(tree.name)) return { shape, output: undefined, isObject: false };
  return { shape, output: [field(name, tree)], isObject: false };
}
