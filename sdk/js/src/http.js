/**
 * Requests to servers that the pipeline grants: the contract's `http`.
 *
 *     const answers = send(url.toArray().map((url) => ({ url })));
 *
 * For operators of the profile `open` whose description wants `http`. A component that imports this module is refused without such a grant. In plain
 * JavaScript a test says what is answered (`answering` of `testing.js`).
 */

import { send as ask } from "#host";

import { answers } from "./answers.js";

const encoder = new TextEncoder();

/**
 * Sends requests side by side, and gives a response or an `Error` for each, in their order: those of a whole batch are best sent at once. Nothing is
 * tried again.
 */
export function send(requests) {
  return answers(ask(requests.map(({ method = "GET", url, headers = [], body = "" }) => ({ method, url, headers, body: typeof body === "string" ? encoder.encode(body) : body }))));
}
