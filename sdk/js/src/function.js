/** What a function of a `js` stage can say about itself. */

const BATCH = Symbol.for("dflow.batch");

/**
 * Marks a function that is given whole batches: each parameter is a `Column` of the batch's rows, and it gives a column with a value for each (an array, a
 * typed array, a `Column`), or an object of such columns by name. What it gives for a row must not depend on the other rows of the batch.
 */
export function batch(given) {
  given[BATCH] = true;
  return given;
}

/** Whether a function is. */
export const isBatch = (given) => given[BATCH] === true;
