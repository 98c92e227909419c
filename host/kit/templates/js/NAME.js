// Operators of the plugin `NAME`.

import { Operator, arrow, opened, port } from "dflow";
import { exportsOf } from "dflow/component";

/** Counts the words of a text. */
class Words extends Operator {
  static description = {
    name: "words",
    shape: "map",
    summary: "how many words a text has",
    ports: [port("text", "utf8", "the text")],
    rejects_rows: true,
    settings: {
      type: "object",
      additionalProperties: false,
      properties: { least: { type: "integer", minimum: 0, default: 0, description: "A text with fewer words is an error of its row." } },
    },
  };

  open({ least = 0 }, columns) {
    this.least = least;
    return opened("map", [arrow.of("words", "int64")]);
  }

  process([texts], emit) {
    const counts = [];
    texts.toArray().forEach((text, row) => {
      const words = text === null ? null : text.split(/\s+/).filter(Boolean).length;
      if (words !== null && words < this.least) emit.error(row, "too-few", `${words} words, at least ${this.least} are needed`);
      else counts.push(words);
    });
    emit.map([counts]);
  }
}

export const operators = exportsOf("NAME", "0.1.0", "counts words", [Words]);
