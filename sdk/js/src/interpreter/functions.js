/** The operators of the interpreter: what a source text imports, what its function takes, and the function itself. */

import { parseExpressionAt } from "acorn";

import { of, read as readFields } from "../arrow.js";
import { Built, Column, WrongValue, build, shown } from "../columns.js";
import { isBatch } from "../function.js";
import { Failure, Operator, opened } from "../operator.js";
import * as hints from "./hints.js";
import { Sources, imported } from "./sources.js";
import { told } from "./trace.js";

// Rows that come of others are emitted so many at a time.
const EMITTED = 4096;
const FAILED = Symbol("failed");
const SETTINGS = {
  type: "object",
  required: ["files", "names", "entry"],
  properties: {
    files: { type: "object", additionalProperties: { type: "string" }, description: "source texts by path, seen from the folder of the stage's file" },
    names: { type: "object", additionalProperties: { type: "string" }, description: "what people call these files" },
    entry: { type: "string", description: "the stage's file among them" },
    function: { type: ["string", "null"], description: "the function's name; the only public one when it isn't said" },
    returns: { type: ["array", "null"], items: { type: "object", required: ["name", "format"] }, description: "the columns that come out, as fields of the contract; what its JSDoc says when left out" },
    rows: { enum: ["map", "filter", "expand", null], description: "how many rows come of one" },
    with: { type: "object", description: "values of parameters that aren't columns" },
  },
};
const described = (name, shape, summary, more) => ({ name, shape, summary, any_columns: true, settings: SETTINGS, ...more });

/** A source text that was run, and its function. */
class Loaded {
  constructor(settings) {
    const { names, entry } = settings;
    this.names = Object.values(names);
    const sources = new Sources(settings);
    let loaded;
    try {
      loaded = sources.load(entry);
    } catch (error) {
      if (error instanceof Failure) throw error;
      throw new Failure("settings", `\`${names[entry]}\` can't be loaded: ${this.told(error)}`);
    }
    [this.name, this.function] = this.#function(loaded, settings.function, names[entry]);
    this.isBatch = isBatch(this.function);
    const text = this.function.toString();
    this.generates = /^\s*(?:async\s+)?(?:function\s*\*|\*)/.test(text);
    if (/^\s*async\b/.test(text)) throw new Failure("settings", `\`${this.name}\` is async, and there is nothing to wait for in the sandbox`);
    this.types = hints.read(hints.comment(loaded.code, text));
    this.parameters = parameters(text, this.name, this.types.parameters);
  }

  told(error, named = true) {
    return told(error, this.names, named);
  }

  #function({ module, own }, name, file) {
    const exported = Object.entries(module.exports).filter(([, value]) => typeof value === "function");
    const all = new Map([...Object.entries(own).filter(([, value]) => typeof value === "function"), ...exported]);
    const known = (names) => names.map((each) => `\`${each}\``).join(", ") || "none";
    if (name) {
      const found = all.get(name);
      if (found) return [name, found];
      throw new Failure("settings", `\`${file}\` has no function \`${name}\`; it has ${known([...all.keys()])}`);
    }
    const main = module.exports.default;
    if (typeof main === "function") return [main.name || "value", main];
    const open = (exported.length ? exported : [...all]).filter(([each]) => !each.startsWith("_"));
    if (open.length === 1) return open[0];
    throw new Failure("settings", `\`${file}\` is to have one function, and has ${known(open.map(([each]) => each))}; name one: \`js = "${file}:name"\``);
  }
}

/** What a function takes: `{ names: [{ name, optional }], byName, row }`; `byName` when it takes one object of named values, `row` the parameter that takes all columns. */
function parameters(text, name, types) {
  let tree;
  for (const around of [text, `function ${text}`]) {
    try {
      tree = parseExpressionAt(`(${around})`, 0, { ecmaVersion: "latest" });
      break;
    } catch {
      // A method is written without `function`.
    }
  }
  const refuse = (what) => new Failure("settings", `\`${name}\` takes ${what}; its parameters are to be the names of columns`);
  if (!tree?.params) throw refuse("what can't be read");
  const one = (node) => {
    if (node.type === "Identifier") return { name: node.name, optional: false };
    if (node.type === "AssignmentPattern" && node.left.type === "Identifier") return { name: node.left.name, optional: true };
    throw refuse(`\`${node.type === "RestElement" ? "..." : "a pattern"}\``);
  };
  const [first] = tree.params;
  const pattern = first?.type === "AssignmentPattern" ? first.left : first;
  if (pattern?.type === "ObjectPattern" && tree.params.length === 1) {
    const names = pattern.properties.filter(({ type }) => type === "Property").map(({ key, value }) => ({ ...(value.type === "AssignmentPattern" ? { optional: true } : { optional: false }), name: key.name ?? key.value }));
    const rest = pattern.properties.some(({ type }) => type === "RestElement");
    return { names, byName: true, row: rest ? "…" : undefined };
  }
  const names = tree.params.map(one);
  const row = names.find((each) => /^(object|Object|Record\b.*|\*|any)$/.test(types[each.name] ?? ""))?.name;
  return { names: names.filter((each) => each.name !== row), byName: false, row, all: names.map((each) => each.name) };
}

/** Opens with a column for each file that texts import. */
export class Imports extends Operator {
  static description = described("imports", "filter", "the files that source texts import");

  open(settings) {
    return opened("filter", imported(settings).map((path) => of(path, "null")));
  }
}

/** Opens with a column for each parameter of a function: nullable when it needn't be given, and with `row` in its metadata when it takes all columns. */
export class Signature extends Operator {
  static description = described("signature", "filter", "the parameters of a function");

  open(settings) {
    const { names, row } = new Loaded(settings).parameters;
    const fields = names.map(({ name, optional }) => of(name, "null", [], optional));
    if (row) fields.push({ ...of(row, "null"), metadata: [["row", "1"]] });
    return opened("filter", fields);
  }
}

/** Calls a function about each row, or about a batch. */
export class Call extends Operator {
  static description = described("call", "expand", "calls a function of a source text", { rejects_rows: true });

  open(settings, fields) {
    const loaded = (this.loaded = new Loaded(settings));
    const { name } = loaded;
    let { shape, output, isObject } = loaded.isBatch ? {} : hints.returned(loaded.types.returns, name, loaded.generates);
    if (settings.returns) [output, isObject] = [readFields(settings.returns), undefined];
    this.shape = settings.rows ?? shape ?? "map";
    this.isObject = isObject;
    this.keeps = this.shape === "filter" && (!output?.length || (output[0].format === "b" && isObject === false));
    if (this.keeps) output = [];
    if (!output) {
      throw new Failure("settings", `it isn't said which columns \`${name}\` gives; say it with JSDoc (\`@returns {string}\`), or in the pipeline: \`returns = { ${name} = "utf8" }\``);
    }
    if (!output.length && !this.keeps) throw new Failure("settings", `\`${name}\` gives no columns; only \`rows = "filter"\` may`);
    if (loaded.isBatch && this.shape === "expand") {
      throw new Failure("settings", `\`${name}\` is given batches, and gives a value for each row; \`rows = "expand"\` is for functions of one row`);
    }
    this.output = output;
    this.given = fields.map((field) => field.name);
    this.constants = settings.with ?? {};
    this.call = this.#caller();
    return opened(this.shape, output);
  }

  process(columns, emit) {
    Object.assign(this, { emit, rows: emit.rows, failed: new Set() });
    if (this.loaded.isBatch) this.#batch(columns);
    else if (this.shape === "expand") this.#expand(columns.map((column) => column.toArray()));
    else this.#each(columns.map((column) => column.toArray()));
  }

  /** What calls the function with the values of columns at a row. */
  #caller() {
    const { function: called, parameters } = this.loaded;
    const { given, constants } = this;
    const named = (columns, row) => {
      const values = { ...constants };
      for (let place = 0; place < given.length; place++) values[given[place]] = columns[place][row];
      return values;
    };
    if (parameters.byName) return (columns, row) => called(named(columns, row));
    const places = parameters.all.map((name) => given.indexOf(name));
    if (!parameters.row && !Object.keys(constants).length && places.every((place) => place >= 0)) {
      if (places.length === 1) return (columns, row) => called(columns[0][row]);
      if (places.length === 2) return (columns, row) => called(columns[places[0]][row], columns[places[1]][row]);
    }
    return (columns, row) => {
      const all = parameters.all.map((name, i) => {
        if (name === parameters.row) return named(columns, row);
        return places[i] >= 0 ? columns[places[i]][row] : constants[name];
      });
      return called(...all);
    };
  }

  #each(columns) {
    const { call, rows, emit, loaded } = this;
    const results = new Array(rows);
    for (let row = 0; row < rows; row++) {
      try {
        results[row] = call(columns, row);
      } catch (error) {
        emit.error(row, error?.name ?? "thrown", loaded.told(error, false));
        results[row] = FAILED;
      }
    }
    if (this.keeps) {
      const kept = [];
      results.forEach((result, row) => {
        if (result === true) kept.push(row);
        else if (result !== false && result !== null && result !== undefined && result !== FAILED) {
          emit.error(row, "wrong-type", `\`${loaded.name}\` is to give true or false, and gave ${shown(result)}`);
        }
      });
      emit.send(new Built(), kept.length, kept);
      return;
    }
    const none = this.shape === "filter";
    const parents = [];
    for (let row = 0; row < rows; row++) {
      const result = results[row];
      if (result !== FAILED && !(none && (result === null || result === undefined))) parents.push(row);
    }
    this.#send(parents.length < rows ? parents.map((row) => results[row]) : results, parents, none);
  }

  /** Emits results with their parents; those that aren't of their columns' types are errors of their rows. */
  #send(results, parents, named) {
    for (;;) {
      const built = new Built();
      try {
        const columns = this.#columns(results);
        this.output.forEach((field, place) => build(field, columns[place], built, true));
        return this.emit.send(built, results.length, named || parents.length !== this.rows ? parents : undefined);
      } catch (error) {
        if (!(error instanceof WrongValue)) throw error;
        const row = parents[error.row];
        this.failed.add(row);
        this.emit.error(row, "wrong-type", `\`${this.loaded.name}\`: ${error.message}`);
        results = results.filter((_, place) => parents[place] !== row);
        parents = parents.filter((parent) => parent !== row);
        named = true;
      }
    }
  }

  /** The columns of some results. */
  #columns(results) {
    const { output, isObject } = this;
    if (output.length === 1 && isObject !== true) {
      const [{ name, format }] = output;
      if (isObject === undefined && !["+s", "+m"].includes(format)) {
        return [results.map((result) => (result !== null && typeof result === "object" && Object.hasOwn(result, name) ? result[name] : result))];
      }
      return [results];
    }
    results.forEach((result, row) => {
      if (result === null || typeof result !== "object") {
        throw new WrongValue(row, `it is to give ${output.map(({ name }) => `\`${name}\``).join(", ")}, and gave ${shown(result)}`);
      }
    });
    return output.map(({ name }) => results.map((result) => result[name] ?? null));
  }

  #expand(columns) {
    const { call, rows, emit, loaded } = this;
    let [results, parents] = [[], []];
    for (let row = 0; row < rows; row++) {
      let begin = results.length;
      try {
        for (const result of call(columns, row) ?? []) {
          results.push(result);
          parents.push(row);
          if (results.length >= EMITTED) {
            if (!this.#send(results, parents, true)) return;
            [results, parents, begin] = [[], [], 0];
            if (this.failed.has(row)) break;
          }
        }
      } catch (error) {
        results.length = parents.length = begin;
        emit.error(row, error?.name ?? "thrown", loaded.told(error, false));
      }
    }
    if (results.length) this.#send(results, parents, true);
  }

  #batch(columns) {
    const { loaded, constants, output, given } = this;
    const { parameters } = loaded;
    const named = { ...constants, ...Object.fromEntries(given.map((name, place) => [name, columns[place]])) };
    let answer;
    try {
      answer = parameters.byName ? loaded.function(named) : loaded.function(...parameters.all.map((name) => (name === parameters.row ? named : named[name])));
    } catch (error) {
      throw new Failure("data", loaded.told(error));
    }
    const isList = answer instanceof Column || Array.isArray(answer) || (ArrayBuffer.isView(answer) && !(answer instanceof DataView));
    let made;
    if (isList && (this.keeps || output.length === 1)) made = [answer];
    else if (answer !== null && typeof answer === "object" && !isList) {
      made = output.map(({ name }) => {
        if (!(name in answer)) throw new Failure("data", `\`${loaded.name}\` gave no column \`${name}\``);
        return answer[name];
      });
    } else throw new Failure("data", `\`${loaded.name}\` is to give an object of columns, or a list of values, and gave ${shown(answer)}`);
    for (const values of made) {
      if (values?.length !== this.rows) throw new Failure("data", `\`${loaded.name}\` gave ${values?.length ?? "no"} values for ${this.rows} rows`);
    }
    if (this.keeps) {
      const kept = Array.from(made[0], (keep, row) => (keep ? row : -1)).filter((row) => row >= 0);
      this.emit.send(new Built(), kept.length, kept);
      return;
    }
    const built = new Built();
    try {
      output.forEach((field, place) => build(field, made[place], built, true));
    } catch (error) {
      if (!(error instanceof WrongValue)) throw error;
      throw new Failure("data", `\`${loaded.name}\`: ${error.message}`);
    }
    this.emit.send(built, this.rows);
  }
}
