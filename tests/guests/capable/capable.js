/** Operators that use what the SDK has beyond plain rows, as `capable.py` has them: what comes out is the same. */

import { Operator, arrow, opened, port, seeds } from "dflow";
import { open } from "dflow/blobs";
import { exportsOf } from "dflow/component";
import { send } from "dflow/http";
import { complete, embed } from "dflow/models";

const decoder = new TextDecoder();
const needed = (name, type) => arrow.of(name, type, [], false);

/** The words of texts, as ranges of them. */
class Words extends Operator {
  static description = { name: "words", shape: "expand", summary: "the words of texts", ports: [port("text", "utf8")] };

  open() {
    return opened("expand", [needed("word", "utf8"), needed("place", "int64")], { word: "text" });
  }

  process([text], emit) {
    const [starts, ends, places, parents] = [[], [], [], []];
    text.toArray().forEach((value, row) => {
      let [begin, place] = [0, 0];
      for (const word of (value ?? "").split(" ")) {
        const end = begin + new TextEncoder().encode(word).length;
        if (word) {
          starts.push(begin);
          ends.push(end);
          places.push(place++);
          parents.push(row);
        }
        begin = end + 1;
      }
    });
    emit.rowsOf([[starts, ends], places], parents);
  }
}

/** The seed of each row. */
class Seeds extends Operator {
  static description = { name: "seeds", shape: "map", summary: "the seed of each row", ports: [port("text", "utf8")], profile: "seeded" };

  open() {
    return opened("map", [needed("seed", "uint64")]);
  }

  process(columns, emit) {
    emit.map([seeds(columns)]);
  }
}

/** As many pieces of 100 kB as a row says, one after the other. */
class Pieces extends Operator {
  static description = { name: "pieces", shape: "expand", summary: "as many pieces as rows say", ports: [port("count", "int64")], streaming: true };

  open() {
    return opened("expand", [needed("piece", "utf8")]);
  }

  process([count], emit) {
    for (let row = 0; row < count.length; row++) {
      for (let piece = 0; piece < count.at(row); piece++) {
        if (!emit.rowsOf([[" ".repeat(100_000) + piece]], [row])) return;
      }
    }
  }
}

/** How files begin and end. */
class Ends extends Operator {
  static description = { name: "ends", shape: "map", summary: "how files begin and end", ports: [port("content", "file")], rejects_rows: true, wants: ["blobs"] };

  open() {
    return opened("map", [arrow.of("size", "uint64"), arrow.of("first", "utf8"), arrow.of("last", "utf8")]);
  }

  process(columns, emit) {
    const good = [];
    for (let row = 0; row < columns[0].length; row++) {
      const file = open(columns, 0, row);
      try {
        good.push([file.size, decoder.decode(file.read(0, 4)), decoder.decode(file.read(file.size - 4))]);
      } catch (error) {
        emit.error(row, "unreadable", error.message);
      }
    }
    emit.map([0, 1, 2].map((place) => good.map((row) => row[place])));
  }
}

/** What servers say to texts. */
class Post extends Operator {
  static description = { name: "post", shape: "map", summary: "what servers say", ports: [port("url", "utf8"), port("text", "utf8")], rejects_rows: true, profile: "open", wants: ["http"] };

  open() {
    return opened("map", [arrow.of("status", "int32"), arrow.of("said", "utf8")]);
  }

  process([url, text], emit) {
    const good = [];
    const requests = url.toArray().map((url, row) => ({ method: "POST", url, headers: [["x-from", "a guest"]], body: text.at(row) }));
    send(requests).forEach((answer, row) => {
      if (answer instanceof Error) return emit.error(row, "post", answer.message);
      const said = JSON.parse(decoder.decode(answer.body));
      good.push([answer.status, [Object.fromEntries(answer.headers)["content-type"], said.method, said.headers["x-from"], said.body].join(" ")]);
    });
    emit.map([good.map(([status]) => status), good.map(([, said]) => said)]);
  }
}

/** What a model says to texts, and their vectors. */
class Ask extends Operator {
  static description = {
    name: "ask", shape: "map", summary: "what a model says", ports: [port("text", "utf8")], rejects_rows: true, profile: "open", wants: ["models"],
    settings: { type: "object", properties: { model: { type: "string" } }, required: ["model"] },
  };

  open({ model }) {
    this.model = model;
    const vector = arrow.listOf("vector", arrow.of("item", "float32"));
    return opened("map", [arrow.of("said", "utf8"), arrow.of("finish", "utf8"), arrow.of("tokens", "uint64"), vector]);
  }

  process([text], emit) {
    const texts = text.toArray();
    const prompts = texts.map((text) => ({ text, maxTokens: 30, system: "Be brief.", schema: { type: "object" }, params: { temperature: 0.5 } }));
    const vectors = embed(this.model, texts);
    const good = [];
    complete(this.model, prompts).forEach((answer, row) => {
      const wrong = [answer, vectors[row]].find((each) => each instanceof Error);
      if (wrong) emit.error(row, "ask", wrong.message);
      else good.push({ ...answer, tokens: answer.inputTokens + answer.outputTokens, vector: vectors[row] });
    });
    emit.map(["text", "finish", "tokens", "vector"].map((member) => good.map((answer) => answer[member])));
  }
}

export const operators = exportsOf("capable", "0.1.0", "what guests can do", [Words, Seeds, Pieces, Ends, Post, Ask]);
