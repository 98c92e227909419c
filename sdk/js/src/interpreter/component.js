/** JavaScript as a plugin that ships with the host: source texts in, functions of rows out. */

import { exportsOf } from "../component.js";
import { Call, Imports, Signature } from "./functions.js";

export const operators = exportsOf("js", "0.1.0", "functions in JavaScript, from their source text", [Imports, Signature, Call]);
