/** What was answered to many things that were asked for at once: an `Error` in the place of each that has no answer. */
export const answers = (results) => results.map(({ tag, val }) => (tag === "ok" ? val : new Error(val)));
