/** In the host's place in plain JavaScript: what a test says (`testing.js`). */

const nobody = (what) => () => {
  throw new Error(`neither a host nor a test ${what} here`);
};

/** What answers one thing that is asked for, or throws. */
export const said = { part: nobody("gives files"), response: nobody("answers requests"), completion: nobody("answers for models"), vector: nobody("answers for models") };

/** Answers for many things, as the contract has them. */
const tried = (things, answer) =>
  things.map((thing) => {
    try {
      return { tag: "ok", val: answer(thing) };
    } catch (error) {
      return { tag: "err", val: error.message };
    }
  });

export const read = (ranges) => tried(ranges, said.part);
export const send = (requests) => tried(requests, said.response);
export const complete = (model, prompts) => tried(prompts, (prompt) => said.completion(model, prompt));
export const embed = (model, texts) => tried(texts, (text) => said.vector(model, text));
