import _ from "lodash";
/** @returns {string} */
export function f(text) {
  return _.camelCase(text);
}
