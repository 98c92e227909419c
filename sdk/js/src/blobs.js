/**
 * Files that are read in parts as they are needed: the contract's `blobs`.
 *
 *     const magic = open(columns, 0, row)?.read(0, 4);
 *
 * For operators that want `blobs` and have a port of files (`port("content", "file")`): its column holds their sizes. In plain JavaScript the files are
 * the bytes that `run` of `testing.js` was given for the port.
 */

import { read as ask } from "#host";

import { answers } from "./answers.js";

/** Reads parts of files (`{ port, row, offset, length }`) side by side, and gives the bytes of each, or an `Error`, in their order. Past the end there are none. */
export const read = (ranges) => answers(ask(ranges.map((range) => ({ ...range, offset: BigInt(range.offset) }))));

/** A row's file: its `size`, and its parts. Null when the row has none. `port` is the position of the port's column. */
export function open(columns, port, row) {
  const size = columns[port].at(row);
  return size === null ? null : new File(port, row, size);
}

class File {
  constructor(port, row, size) {
    Object.assign(this, { port, row, size });
  }

  /** The bytes of a part, or of all; fewer where the file ends. Throws an `Error` with what the host says. A call takes a while: better read much at once. */
  read(offset = 0, length = this.size - offset) {
    if (offset < 0) throw new RangeError("before the beginning of the file");
    const [part] = read([{ port: this.port, row: this.row, offset, length }]);
    if (part instanceof Error) throw part;
    return part;
  }
}
