/** Requests to servers that the pipeline grants. */

/** What is asked of a server. `url` is an absolute one of an origin that the pipeline grants; what the pipeline keeps secret is added by the host. */
export interface Request {
  /** `GET` when left out. */
  method?: string;
  url: string;
  headers?: [string, string][];
  body?: string | Uint8Array;
}

/** What a server answered, whatever its status. Names of headers are in lower case; the body is as it came, encodings included. */
export interface Response {
  status: number;
  headers: [string, string][];
  body: Uint8Array;
}

/**
 * Sends requests side by side, and gives a response or an `Error` for each, in their order: those of a whole batch are best sent at once. Nothing is
 * tried again.
 */
export function send(requests: Request[]): (Response | Error)[];
