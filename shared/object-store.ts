// What a PLACE is to those who use it: objects with names and bytes, in a folder or in any store that speaks the S3 API. One small interface for
// both, so that backup, restore, healing and slices from a store do not know which it is. `openPlace` in place.ts opens one.
//
// An object has a name of plain characters with `/` between its parts, and bytes. It appears whole or not at all, and what an answer says
// (status, length, range, digest of what was sent) is checked behind this interface. Whether the bytes are the right ones is for the reader
// to check by their digest: see place-layout.ts. A request that fails for a reason that may pass is made again, a bounded number of times.

/** Size in bytes. The tag changes when the object does; `undefined` when the store gives none. */
export type ObjectHead = { readonly size: number; readonly tag: string | undefined };

/** An object's bytes on their way. `size` is that of the whole object; `chunks` must be read to the end, or left by a `break`: unread, they may keep a socket. */
export type ObjectBody = ObjectHead & { readonly chunks: AsyncIterable<Buffer> };

export type SmallObject = { readonly bytes: Buffer; readonly tag: string | undefined };

/** Bytes from `from` (0 by default) to before `to` (the end by default), at least one. */
export type ReadOptions = {
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type WriteFileOptions = {
  /** Bytes that the place has now and had not before: sent, or found there of an earlier try. */
  readonly onStored?: ((bytes: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** What an object must be for it to be replaced: the tag that was read (none: whatever it is), or not there at all. */
export type WriteCondition = { readonly tag: string | undefined } | 'absent';

/**
 * Objects at one place. All methods throw `store_unreachable` when the store gives no answer, `store_refused` when it says no, `reply_malformed` for
 * what is no answer, the signal's reason; for a folder also `data_unwritable` and `disk_short`.
 */
export type ObjectStore = {
  /** What messages call it: never with credentials. */
  readonly place: string;
  /** The folder, where it is one. */
  readonly folder: string | undefined;
  /** Undefined when there is no such object. */
  readonly findObject: (name: string, signal?: AbortSignal) => Promise<ObjectHead | undefined>;
  /** Undefined when there is no such object. A broken connection is taken up where it broke; throws `object_corrupt` when the object changed meanwhile. */
  readonly readObject: (name: string, options?: ReadOptions) => Promise<ObjectBody | undefined>;
  /** The whole of an object of at most `sizeMax` bytes; a larger one is `object_corrupt`. */
  readonly readSmallObject: (name: string, sizeMax: number, signal?: AbortSignal) => Promise<SmallObject | undefined>;
  /** Stores a file as an object, whole or not at all; on the disk when it returns. A large one goes in parts, and what an earlier try has sent of it is not sent again. */
  readonly writeFile: (name: string, path: string, options?: WriteFileOptions) => Promise<void>;
  /** Stores bytes as an object. With a condition: false, and nothing is done, when the object is another one by now. */
  readonly writeSmallObject: (name: string, bytes: Buffer, condition?: WriteCondition, signal?: AbortSignal) => Promise<boolean>;
  /** All objects whose names begin with `prefix`, in no certain order. */
  readonly listObjects: (prefix: string, signal?: AbortSignal) => AsyncIterable<{ readonly name: string; readonly size: number }>;
  /** One that is not there is fine. */
  readonly removeObject: (name: string, signal?: AbortSignal) => Promise<void>;
  /** Removes what writers that died long ago have left in a folder. An object store has rules of its own for that. */
  readonly removeLeftovers: () => Promise<void>;
  readonly close: () => Promise<void>;
};
