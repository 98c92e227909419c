/** Source texts as modules: the stage's own file, and the neighbours that it imports. */

import { parse } from "acorn";
import { transform } from "sucrase";

import * as dflow from "../index.js";
import { Failure } from "../operator.js";

const COMMAND = "a `command` stage runs a program outside of the sandbox";

/** A path as another file sees it, seen from the folder of the stage's file. */
export function resolve(specifier, from) {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") {
      if (!parts.length || parts.at(-1) === "..") parts.push("..");
      else parts.pop();
    } else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}

/** A text with `require` in the place of `import`, lines where they were. */
function transformed(text, name) {
  try {
    return transform(text, { transforms: ["imports"], filePath: name, disableESTransforms: true, preserveDynamicImport: true }).code;
  } catch (error) {
    throw syntax(text, name, error);
  }
}

/** A syntax error with its line. */
function syntax(text, name, error) {
  const found = /^(?:Error transforming .*?: )?(.*?)(?: \((\d+):(\d+)\))?$/s.exec(error.message);
  const [line, column] = [Number(found[2] ?? error.lineNumber ?? 0), Number(found[3] ?? 1)];
  const shown = text.split("\n")[line - 1];
  const place = line ? `${name}:${line}` : name;
  if (!shown?.trim()) return new Failure("settings", `${place}: ${found[1]}`);
  const begin = shown.length - shown.trimStart().length;
  return new Failure("settings", `${place}: ${found[1]}\n    ${shown.trim()}\n    ${" ".repeat(Math.max(column - 1 - begin, 0))}^`);
}

/** The files that texts import, seen from the folder of the stage's file. */
export function imported({ files, names }) {
  const found = new Set();
  for (const [path, text] of Object.entries(files)) {
    for (const [, specifier] of transformed(text, names[path]).matchAll(/\brequire\(['"]([^'"\n]+)['"]\)/g)) {
      if (specifier.startsWith(".")) found.add(resolve(specifier, path));
    }
  }
  return [...found].filter((path) => path && !(path in files));
}

/** The modules of a stage. */
export class Sources {
  #loaded = new Map();

  constructor({ files, names }) {
    this.files = files;
    this.names = names;
  }

  /** A module: what it exports, and the functions at its top, each with its text's place. */
  load(path) {
    if (this.#loaded.has(path)) return this.#loaded.get(path);
    const name = this.names[path];
    const code = transformed(this.files[path], name);
    const module = { exports: {} };
    const loaded = { module, code, own: {} };
    this.#loaded.set(path, loaded);
    const own = functions(code);
    // Its first line stays the first, so that errors name the lines that people see.
    const wrapped = `(function (require, module, exports, __own) {${code}\n;__own({ ${own.join(", ")} });})\n//# sourceURL=${name}`;
    let made;
    try {
      made = (0, eval)(wrapped);
    } catch (error) {
      throw syntax(this.files[path], name, error);
    }
    made((specifier) => this.#require(specifier, path), module, module.exports, (all) => (loaded.own = all));
    return loaded;
  }

  #require(specifier, from) {
    if (specifier === "dflow") return dflow;
    const path = specifier.startsWith(".") ? resolve(specifier, from) : specifier;
    if (specifier.startsWith(".") && path in this.files) return this.load(path).module.exports;
    const what = specifier.startsWith(".") ? `\`${this.names[from]}\` imports \`${specifier}\`, and there is no such file beside it` : `there is no module \`${specifier}\` in the sandbox, where no packages are installed: bundle it into a file beside yours`;
    throw new Failure("settings", `${what}; ${COMMAND}`);
  }
}

/** The names of the functions at the top of a text. */
function functions(code) {
  let tree;
  try {
    tree = parse(code, { ecmaVersion: "latest", sourceType: "script", allowReturnOutsideFunction: true });
  } catch {
    // What is wrong is said when it is run.
    return [];
  }
  const names = tree.body.flatMap((node) => {
    if (node.type === "FunctionDeclaration") return [node.id.name];
    if (node.type !== "VariableDeclaration") return [];
    return node.declarations.filter(({ id, init }) => id.type === "Identifier" && /Function|CallExpression/.test(init?.type ?? "") && !/^_/.test(id.name)).map(({ id }) => id.name);
  });
  return [...new Set(names)];
}
