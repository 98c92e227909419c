/**
 * Models that the pipeline grants: the contract's `models`.
 *
 *     const answers = complete("writer", text.toArray().map((text) => ({ text, maxTokens: 100 })));
 *
 * For operators of the profile `open` whose description wants `models`. The host asks at its pace and within its budget, and keeps what is answered. A
 * component that imports this module is refused without such a grant. In plain JavaScript a test says what is answered (`modelling` of `testing.js`).
 */

import { complete as ask, embed as vectors } from "#host";

import { answers } from "./answers.js";

const json = (value) => (value === undefined ? "" : JSON.stringify(value));

/**
 * Asks a model, by the name that the pipeline gives it, and gives an answer or an `Error` for each prompt, in their order. They are asked side by side:
 * those of a whole batch are best asked at once. What may help was tried already.
 */
export function complete(model, prompts) {
  const asked = ask(model, prompts.map(({ text, maxTokens = 0, system = "", schema, params }) => ({ system, text, schema: json(schema), params: json(params), maxTokens })));
  return answers(asked).map((answer) => (answer instanceof Error ? answer : { ...answer, inputTokens: Number(answer.inputTokens), outputTokens: Number(answer.outputTokens) }));
}

/** Gives the vector of each text, or an `Error`; otherwise as `complete`. */
export const embed = (model, texts) => answers(vectors(model, texts));
