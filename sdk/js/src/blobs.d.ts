/** Files that are read in parts as they are needed. */

import { Column } from "../index.js";

/** A part of a file of the batch in work: the position of the port's column, the row, and where it begins and how many bytes it has. */
export interface Range {
  port: number;
  row: number;
  offset: number;
  length: number;
}

/** Reads parts of files side by side, and gives the bytes of each, or an `Error`, in their order. Past the end of a file there are none. */
export function read(ranges: Range[]): (Uint8Array | Error)[];

/** A row's file. */
export interface File {
  readonly size: number;
  /** The bytes of a part, or of all; fewer where the file ends. Throws an `Error` with what the host says. A call takes a while: better read much at once. */
  read(offset?: number, length?: number): Uint8Array;
}

/** A row's file; null when the row has none. `port` is the position of the port's column. */
export function open(columns: Column[], port: number, row: number): File | null;
