/** Errors of people's functions, as they show them. */

import { shown } from "../columns.js";

/** An error with the lines of its own files alone, innermost last; without its name where that is said already. */
export function told(error, names, named = true) {
  if (!(error instanceof Error)) return named ? `thrown: ${shown(error)}` : shown(error);
  const ours = new Set(names);
  const frames = [];
  // `name@file:line:column`, or of V8 `at name (file:line:column)`.
  for (const line of (error.stack ?? "").split("\n")) {
    const found = /^\s*(?:at\s+)?(.*?)\s*[@(]?((?:[^\s@()]|<[^>]*>)+?):(\d+):\d+\)?$/.exec(line);
    const file = found && [...ours].find((name) => found[2] === name || found[2].endsWith(`> ${name}`));
    if (file) frames.push(`  ${file}:${found[3]}${found[1] ? ` in ${found[1].replace(/\/<$/, "")}` : ""}`);
  }
  const cause = error.cause ? [`because of ${error.cause}`] : [];
  return [named ? `${error.name}: ${error.message}` : error.message, ...frames.reverse().slice(-6), ...cause].join("\n");
}
