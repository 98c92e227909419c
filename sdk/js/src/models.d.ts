/** Models that the pipeline grants. */

/** A completion that is asked for. */
export interface Prompt {
  text: string;
  /** The most tokens that may come out; as many as the model gives when left out. Where the pipeline has a budget it must be said. */
  maxTokens?: number;
  /** What the model is told before. */
  system?: string;
  /** The JSON Schema of the object that the answer is to be. */
  schema?: object;
  /** Further parameters, such as `{ temperature: 0 }`. */
  params?: object;
}

export interface Answer {
  text: string;
  /** Why it ends: `stop`, `length`, `refused`, or what the provider says. */
  finish: string;
  inputTokens: number;
  outputTokens: number;
}

/**
 * Asks a model, by the name that the pipeline gives it, and gives an answer or an `Error` for each prompt, in their order. They are asked side by side:
 * those of a whole batch are best asked at once. What may help was tried already.
 */
export function complete(model: string, prompts: Prompt[]): (Answer | Error)[];

/** Gives the vector of each text, or an `Error`; otherwise as `complete`. */
export function embed(model: string, texts: string[]): (Float32Array | Error)[];
