// The table of errors: every code that a user or a client can meet, once. A miss is no error but a
// value; a bug is an assertion and crashes. `status` is the HTTP status where the code can reach a
// client, 500 for those that end a command instead. docs/errors.md says what to do about each.

export const errorTable = {
  // Requests.
  key_required: { status: 400, title: 'The request names no key' },
  key_empty: { status: 400, title: 'The key is empty' },
  key_repeated: { status: 400, title: 'The key is given more than once' },
  key_malformed: { status: 400, title: 'The key is not valid percent-encoding' },
  key_too_long: { status: 414, title: 'The key is longer than 2,048 bytes' },
  key_not_found: { status: 404, title: 'No record has this key' },
  keys_malformed: { status: 400, title: 'The list of keys is malformed' },
  keys_too_many: { status: 413, title: 'More than 500 keys in one request' },
  body_too_large: { status: 413, title: 'The request body is too large' },
  body_malformed: { status: 400, title: 'The request body is malformed' },
  media_type_unsupported: { status: 415, title: 'The request body has an unsupported type' },
  route_not_found: { status: 404, title: 'There is nothing at this path' },
  method_not_allowed: { status: 405, title: 'This path does not take this method' },
  request_malformed: { status: 400, title: 'The request is not valid HTTP' },
  request_timeout: { status: 408, title: 'The request did not arrive in time' },
  header_too_large: { status: 431, title: 'The request header is larger than 64 KiB' },
  internal: { status: 500, title: 'Unexpected error' },

  // A look-up that has no answer now.
  no_version: { status: 503, title: 'No version of the data is being served yet' },
  slice_unavailable: { status: 503, title: 'No live shard holds the slice of this key' },
  slice_loading: { status: 503, title: 'The slice of this key is still being loaded' },
  slice_corrupt: { status: 503, title: 'The slice of this key failed its check' },
  overloaded: { status: 503, title: 'Too many requests are waiting' },
  response_full: { status: 503, title: 'The response has no room for this value: ask again with fewer keys' },
  slice_not_held: { status: 421, title: 'This shard does not hold the slice of this key' },
  version_not_held: { status: 421, title: 'This shard does not hold that version' },
  deadline_exceeded: { status: 504, title: 'No shard answered in time' },

  // Files.
  slice_malformed: { status: 500, title: 'A slice file failed its check' },
  manifest_malformed: { status: 500, title: 'A manifest failed its check' },
  current_malformed: { status: 500, title: 'The file that names the published version failed its check' },
  publications_malformed: { status: 500, title: 'The list of publications failed its check' },
  version_missing: { status: 500, title: 'There is no such version' },
  version_refused: { status: 500, title: 'The version may not be published' },
  memory_short: { status: 500, title: 'The slices need more memory than there is' },

  // Split and publish.
  input_unreadable: { status: 500, title: 'The input cannot be read' },
  line_malformed: { status: 500, title: 'A line of the input is not a record' },
  key_duplicated: { status: 500, title: 'A key stands in the input more than once' },
  slice_too_large: { status: 500, title: 'A slice would be larger than 1 GiB' },
  disk_short: { status: 500, title: 'There is not enough disk space' },
  data_unwritable: { status: 500, title: 'The data folder cannot be written' },
  version_pinned: { status: 500, title: 'The published version is pinned' },
  version_not_served: { status: 500, title: 'The published version is not served yet' },
  publish_locked: { status: 500, title: 'Another process is publishing' },
  part_missing: { status: 500, title: 'A part of the split is not complete' },
  part_malformed: { status: 500, title: 'A part of the split is damaged, or of another split' },
  spill_malformed: { status: 500, title: 'A temporary file of the split failed its check' },

  // Places: folders and object stores.
  store_unreachable: { status: 500, title: 'The object store does not answer' },
  store_refused: { status: 500, title: 'The object store refuses the request' },
  object_missing: { status: 500, title: 'An object of a backup is missing' },
  object_corrupt: { status: 500, title: 'An object of a backup failed its check' },

  // Cluster and command line.
  members_malformed: { status: 500, title: 'The list of members is malformed' },
  reply_malformed: { status: 500, title: 'An answer of another process is malformed' },
  router_unreachable: { status: 500, title: 'The router does not answer' },
  child_failed: { status: 500, title: 'A process of the local cluster did not start' },
  port_in_use: { status: 500, title: 'The port is taken' },
  interrupted: { status: 500, title: 'The process was told to end' },
  address_unavailable: { status: 500, title: 'The address cannot be listened on' },
  usage: { status: 500, title: 'The command line is wrong' },
} as const satisfies Record<string, { status: number; title: string }>;

export type ErrorCode = keyof typeof errorTable;

/** An operating error: something outside the program is wrong. `message` names the thing, the value read and the bound. */
export class PavostoreError extends Error {
  override readonly name = 'PavostoreError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get status(): number {
    return errorTable[this.code].status;
  }
}

/** The body of an error response: RFC 9457 with a stable `code`. */
export function problemOf(code: ErrorCode, detail: string = errorTable[code].title): Record<string, string | number> {
  const { status, title } = errorTable[code];
  return { type: 'about:blank', title, status, code, detail };
}

export const problemContentType = 'application/problem+json; charset=utf-8';

/** True for the codes that may be gone after a while: their responses carry Retry-After. */
export function isTemporary(code: ErrorCode): boolean {
  return errorTable[code].status === 503;
}
