/** Three operators, as `../rust` and `../python` have them: what comes out is the same. */

import { csvParseRows } from "d3-dsv";
import { Failure, Operator, arrow, opened, port } from "dflow";
import { exportsOf } from "dflow/component";

const SPACE = " \\t\\n\\r\\v\\f";
const bytes = (text) => new TextEncoder().encode(text).length;
const needed = (name, type) => arrow.of(name, type, [], false);

/** One row for each URL of the rows of a CSV file whose URLs contain a word. */
class Urls extends Operator {
  static description = {
    name: "urls", shape: "expand", summary: "the URLs of those rows of a CSV file whose URLs contain a word", rejects_rows: true,
    ports: [port("content", "utf8", "a CSV file with a header")],
    settings: {
      type: "object", required: ["contains"], additionalProperties: false,
      properties: {
        column: { type: "string", description: "The column that holds URLs, with white space between them." },
        contains: { type: "string", description: "Rows whose URLs contain this word are kept." },
      },
    },
  };

  open({ column = "urls", contains }) {
    Object.assign(this, { column, contains });
    return opened("expand", [needed("url", "utf8"), needed("row", "int64")]);
  }

  process([content], emit) {
    const [urls, rows, parents] = [[], [], []];
    content.toArray().forEach((text, file) => {
      if (text === null) return;
      const [header = [], ...records] = csvParseRows(text).filter((record) => record.length > 1 || record[0] !== "");
      const place = header.indexOf(this.column);
      if (place < 0) {
        emit.error(file, "no-column", `there is no column \`${this.column}\`; there is ${header.map((name) => `\`${name}\``).join(", ")}`);
        return;
      }
      records.forEach((record, row) => {
        const cell = record[place] ?? "";
        if (!cell.includes(this.contains)) return;
        for (const url of cell.split(/\s+/).filter(Boolean)) {
          urls.push(url);
          rows.push(row + 1);
          parents.push(file);
        }
      });
    });
    emit.rowsOf([urls, rows], parents);
  }
}

const TYPES = {
  string: ["utf8", "a string", (value) => typeof value === "string"],
  integer: ["int64", "an integer", (value) => Number.isInteger(value)],
  number: ["float64", "a number", (value) => typeof value === "number"],
  boolean: ["bool", "true or false", (value) => typeof value === "boolean"],
};

/** The fields of JSON objects that are what they must be, as columns. */
class Validate extends Operator {
  static description = {
    name: "validate", shape: "map", rejects_rows: true,
    summary: "the fields of JSON objects, as columns; an object that isn't what it must be fails, with all that is wrong",
    ports: [port("json", "utf8", "a JSON object")],
    settings: { type: "object", required: ["fields"], additionalProperties: false, properties: { fields: { type: "object", description: "Its fields, which become columns." } } },
  };

  open({ fields }) {
    this.fields = Object.entries(fields);
    const unknown = this.fields.find(([, { type }]) => !(type in TYPES));
    if (unknown) throw new Failure("settings", `there is no type \`${unknown[1].type}\`; there is ${Object.keys(TYPES).join(", ")}`);
    return opened("map", this.fields.map(([name, { type }]) => arrow.of(name, TYPES[type][0])));
  }

  process([json], emit) {
    const good = [];
    json.toArray().forEach((text, row) => {
      let value;
      try {
        value = JSON.parse(text ?? "");
      } catch {
        value = null;
      }
      if (value === null || typeof value !== "object" || Array.isArray(value)) {
        emit.error(row, "not-json", "it isn't a JSON object");
        return;
      }
      const problems = this.problems(value);
      if (problems.length) emit.error(row, "invalid", problems.join("; "));
      else good.push(value);
    });
    emit.map(this.fields.map(([name]) => good.map((value) => value[name] ?? null)));
  }

  problems(value) {
    return this.fields.flatMap(([name, { type, required = true, ge, le, min_length = 0, one_of }]) => {
      const member = value[name] ?? null;
      if (member === null) return required ? [`\`${name}\` is missing`] : [];
      const [, what, fits] = TYPES[type];
      if (!fits(member)) return [`\`${name}\` is to be ${what}`];
      const found = [];
      if (typeof member === "number") {
        if (member < ge) found.push(`\`${name}\` is to be at least ${ge}`);
        if (member > le) found.push(`\`${name}\` is to be at most ${le}`);
      }
      if (typeof member === "string") {
        if ([...member].length < min_length) found.push(`\`${name}\` is to have at least ${min_length} characters`);
        if (one_of && !one_of.includes(member)) found.push(`\`${name}\` is to be one of ${one_of.join(", ")}`);
      }
      return found;
    });
  }
}

/** One row for each sentence: it ends at `.`, `!` or `?` before white space, or with the text. */
class Sentences extends Operator {
  static description = { name: "sentences", shape: "expand", summary: "the sentences of texts, and where they are", ports: [port("text", "utf8", "a text")] };
  static SENTENCE = new RegExp(`(?=[^${SPACE}])(?:.*?[.!?](?=[${SPACE}])|.*[^${SPACE}])`, "gs");

  open() {
    return opened("expand", [needed("sentence", "utf8"), needed("start", "int64"), needed("end", "int64")]);
  }

  process([text], emit) {
    const [sentences, starts, ends, parents] = [[], [], [], []];
    text.toArray().forEach((content, row) => {
      let [last, place] = [0, 0];
      for (const found of (content ?? "").matchAll(Sentences.SENTENCE)) {
        // Places are in bytes of UTF-8, as everywhere in dflow.
        place += bytes(content.slice(last, found.index));
        last = found.index + found[0].length;
        starts.push(place);
        place += bytes(found[0]);
        ends.push(place);
        sentences.push(found[0]);
        parents.push(row);
      }
    });
    emit.rowsOf([sentences, starts, ends], parents);
  }
}

export const operators = exportsOf("words", "0.1.0", "URLs in CSV files, a validator, sentences", [Urls, Validate, Sentences]);
