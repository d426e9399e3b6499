// Every bound and every time of Pavostore, with its unit and its reason. Nothing else in the code
// holds such a number. The relations between them are asserted at the end, when the module loads.

import assert from 'node:assert/strict';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export const limits = {
  // Records.
  /** A key in bytes: fits a u16 in the batch and, percent-encoded (3 times), a request line. */
  keySizeMax: 2048,
  /** A value in bytes: one value must fit a reply and a response that are held in memory. */
  valueSizeMax: 8 * MiB,

  // Slices and versions.
  sliceCountMax: 4096,
  /** At least this many slices by default: enough for 3 to 64 members to share them evenly. */
  sliceCountDefaultMin: 256,
  /** What one slice holds by default: a load or a move of one takes well under a second. */
  sliceRecordBytesTarget: 64 * MiB,
  /** One Buffer each, and u32 offsets in its directory. */
  sliceSizeMax: 1 * GiB,
  /** The bucket count is the power of two with at most this many entries a bucket on average (and more than half of it). */
  bucketEntriesMax: 8,
  /** A manifest of 4,096 slices is 1.2 MB; beyond this it is not ours. */
  manifestSizeMax: 8 * MiB,
  currentSizeMax: 4 * KiB,

  // Split.
  /** Spill files: one for each value of the hash's top 8 bits. */
  spillBits: 8,
  /** What a worker takes from the input at a time; larger than the longest line. */
  inputChunkSize: 16 * MiB,
  /** Records of a chunk that a worker scans before it spills them: 5 MiB of columns; chunks of usual records are one batch. */
  batchRecordsMax: 256 * KiB,
  /** Records of one partition that a worker sorts in memory at a time; beyond it the partition is read in several sweeps. */
  sealMemoryMax: 256 * MiB,
  /** Spill files smaller than this are sealed together up to it: handing over a task costs as much as sealing some hundred records. */
  sealTaskSize: 4 * MiB,
  /** Parts of a split over several machines: their names have four digits. */
  splitPartsMax: 4096,
  /** Worker threads of a command. */
  jobsMax: 256,
  /** Room on the disk that a split needs for each byte of its input: records of usual size take 1.04 in a spill file. */
  splitSizeFactor: 1.1,
  splitSizeMin: 16 * MiB,
  heartbeatIntervalMs: 5_000,
  /** Twelve missed heartbeats: the writer is gone, its temporary folder and its lock may be taken. */
  heartbeatStaleMs: 60_000,
  /** How long a publisher waits for another one: publishing takes moments, unless it must verify a version that is there already. */
  publishLockWaitMs: 120_000,
  publishLockRetryMs: 50,

  // HTTP, for clients.
  headerSizeMax: 64 * KiB,
  /** The request line's part that may hold a key of 2,048 bytes, each percent-encoded. */
  mgetKeysMax: 500,
  /** 500 keys of 2,048 bytes in base64, with their JSON, fit. */
  mgetBodySizeMax: 2 * MiB,
  /** Values of one response to `/mget`, in bytes: they are held until the last key is answered. */
  mgetValuesSizeMax: 64 * MiB,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  connectionsCheckingIntervalMs: 1_000,
  /** How long a client that sent what is not HTTP may still send before it is cut off: it should read why. */
  lingerMs: 1_000,
  /** How long a server that closes waits for the answers under way: longer than their usual deadline, shorter than `stopGraceMs`. */
  drainMs: 5_000,
  /** How often it looks for connections that have become idle. */
  drainIntervalMs: 50,
  /** How long a server keeps an idle connection: must outlast every client of ours (`clientKeepAliveMs`). */
  serverKeepAliveMs: 72_000,
  /** A connection is kept so much longer than its client is told, as Node does it: the client should be the one who closes. */
  serverKeepAliveSlackMs: 1_000,
  /** Header fields of a plain GET: twice what browsers send; more is for Node's parser. A connection remembers them. */
  plainFieldsSizeMax: 2 * KiB,
  retryAfterSeconds: 1,

  // The hop between router and shard.
  /** One reply, unless a single value exceeds it: bounds what a router holds per batch in flight. */
  batchReplySizeMax: 4 * MiB,
  batchKeysMax: 1_024,
  /** A request of `batchKeysMax` keys of `keySizeMax` each, with its header, fits. */
  batchRequestSizeMax: 3 * MiB,
  /** Batches in flight to one member: more would make them smaller, fewer would let one large value hold up the rest. */
  batchesInFlightMax: 4,
  /** While a batch is under way, so many keys make another one worth its cost, which is that of some ten keys. */
  batchKeysWorth: 64,
  /** How long fewer keys wait for a batch under way: most replies come in a fraction of it. */
  batchPatienceMs: 1,
  /** How much more loaded than another, in keys, a holder may be and still be preferred because its batch is open: some tens of microseconds of its work. */
  batchAffinityKeys: 64,
  /** How long a shard that deferred every key of a batch is left alone: it has its hands full. */
  deferralPauseMs: 5,
  /** Keys that may wait for one member: at 2 M look-ups/s a core 32 Ki are 16 ms of its work. */
  memberQueueMax: 32 * KiB,
  /** Keys that may wait in the whole router. */
  routerQueueMax: 128 * KiB,
  /** A value up to this size is handled as one latin1 string and leaves with its header in one write; a larger one as bytes, without a copy. */
  oneWriteSizeMax: 64 * KiB,
  /** Lookups that wait for the same key on its way; one more asks for itself, so that no answer has to be given to too many at once. */
  flightFollowersMax: 1_024,
  /** The cache holds at least this many answers: a larger one is not taken in. */
  hotAnswersMin: 64,
  /** Idle sockets to a shard close before the shard's own keep-alive ends. */
  clientKeepAliveMs: 60_000,
  /** A socket of a batch without a byte for this long is destroyed. */
  socketSilentMs: 5_000,
  connectTimeoutMs: 1_000,
  /** A request of a client is answered in this time, or with a 504. */
  deadlineDefaultMs: 1_000,
  deadlineMaxMs: 60_000,
  /** The timing wheel's step: a deadline is late by this at the most. */
  deadlineTickMs: 5,

  // Slices on disk.
  /** Buckets read at once by a shard: enough to keep a disk busy, and the threads that read. */
  diskReadsMax: 64,
  /** Buckets that may wait to be read; beyond it keys are `deferred`. */
  diskReadsQueueMax: 32 * KiB,
  /** The record cache is at least this large: below it, hardly anything would stay. */
  recordCacheMin: 16 * MiB,
  /** Share of the record cache that is filled at the start: beyond it, what comes in would push out what just came. */
  preloadShare: 0.85,
  /** Left free when a shard decides by itself how much memory to take. */
  memoryReserve: 128 * MiB,

  // Members.
  pollIntervalMs: 1_000,
  /** While a member has not answered yet, or still loads: a starting cluster is seen whole at once. */
  pollStartIntervalMs: 200,
  pollDeadlineMs: 800,
  /** A deadline of a poll that is noticed so much too late was missed by the one who asked. */
  pollLateMs: 100,
  /** Refused or silent for two polls: not alive, for routing; the next good poll brings it back. */
  memberSilentMs: 2_500,
  /** A discovered member that is neither listed nor answers for this long is forgotten. */
  memberAbsentMs: 60_000,
  /** A shard that found its members by DNS lets them come up for this long before it loads what placement gives it. */
  membersSettleMs: 2_000,
  /** A slice that nobody keeps or loads for this long is taken by the next in order that is alive. */
  sliceOrphanedMs: 10_000,
  statusSizeMax: 1 * MiB,
  membersMax: 256,
  placementPointsPerMember: 160,
  placementRange: 100_003,
  dnsTimeoutMs: 2_000,
  currentWatchIntervalMs: 1_000,

  replicasMax: 16,
  /** Shards of a local cluster: more processes than this on one machine serve nobody. */
  localShardsMax: 64,

  // Tools.
  toolDeadlineMs: 5_000,
  toolReplySizeMax: 128 * MiB,

  // Versions, in the router.
  /** A newer version that somebody still loads is switched to after this long, when each slice has a holder. */
  versionFlipMs: 60_000,
  /** How long a starting router waits for a complete version before it serves the best covered one. */
  versionWaitMs: 2_000,

  // The local cluster.
  restartDelayMinMs: 100,
  restartDelayMaxMs: 10_000,
  /** A child that ran for this long starts with the shortest delay again. */
  restartForgiveMs: 30_000,
  stopGraceMs: 10_000,
  /** How often a starting cluster asks its router whether all is there. */
  localStatusIntervalMs: 50,
  /** Ports that are tried for the shards before giving up. */
  localPortsTriedMax: 1_000,
} as const;

const requestLineSizeMin = '/get?key='.length + 3 * limits.keySizeMax;
assert(requestLineSizeMin < limits.headerSizeMax, 'the longest key, percent-encoded, fits a request line');
assert(limits.keySizeMax < 2 ** 16, 'a key length fits the u16 of a batch');
assert(limits.inputChunkSize > limits.keySizeMax + limits.valueSizeMax + 3, 'a chunk holds the longest line');
assert(limits.sliceSizeMax < 2 ** 31, 'offsets in a slice are positive 32-bit integers');
assert(limits.serverKeepAliveMs > limits.clientKeepAliveMs + limits.socketSilentMs, 'a client closes an idle socket first');
assert(limits.batchRequestSizeMax > limits.batchKeysMax * (limits.keySizeMax + 2) + 64, 'a full batch fits');
assert(limits.publishLockWaitMs > limits.heartbeatStaleMs, 'a publisher outwaits the lock of a dead one');
assert(limits.heartbeatStaleMs > 4 * limits.heartbeatIntervalMs, 'a slow heartbeat is not a dead one');
assert(limits.pollDeadlineMs < limits.pollIntervalMs, 'polls of one member do not pile up');
assert(limits.memberSilentMs > 2 * limits.pollIntervalMs, 'one lost poll does not make a member dead');
assert(
  limits.drainMs > limits.deadlineDefaultMs && limits.drainMs < limits.stopGraceMs,
  'a server answers what it has taken before it is killed',
);
