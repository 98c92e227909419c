/** dflow for JavaScript: functions and operators that run in the sandbox. */

export * as arrow from "./arrow.js";
export { Column } from "./columns.js";
export { batch } from "./function.js";
export { Emitter, Failure, Operator, opened, port, seeds } from "./operator.js";
