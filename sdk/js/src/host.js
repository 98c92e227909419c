/** The host, in a component: what of it isn't used isn't imported. `stand-in.js` is in its place elsewhere (`imports` in package.json). */

export { read } from "dflow:operator/blobs";
export { send } from "dflow:operator/http";
export { complete, embed } from "dflow:operator/models";
