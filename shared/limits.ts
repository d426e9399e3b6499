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
  /** Publications that are remembered: more than an hour's, at one in 10 s. Some 200 bytes each. */
  publicationsMax: 512,
  publicationsSizeMax: 1 * MiB,
  /** What is kept of the guards' reasons against a version: the first ones say enough. Characters. */
  guardReasonsMax: 4,
  guardReasonSizeMax: 400,

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
  /**
   * For the time left that a split shows: how long the second pass takes beside the reading of the input, without its digests, and with digests of a gigabyte a
   * second and core. Measured with 100 M entries on a processor that has instructions for SHA-256 (1.4 GB/s) and one that has not (0.35).
   */
  splitSealPerRead: 0.9,
  splitDigestPerRead: 0.38,
  splitDigestProbeSize: 4 * MiB,
  heartbeatIntervalMs: 5_000,
  /** Twelve missed heartbeats: the writer is gone, its temporary folder and its lock may be taken. */
  heartbeatStaleMs: 60_000,
  /** How long a publisher waits for another one: publishing takes moments, unless it must verify a version that is there already. */
  publishLockWaitMs: 120_000,
  publishLockRetryMs: 50,
  /** After so long a publisher says that it waits. */
  publishLockTellMs: 1_000,
  /** The share of the published version's entries that a new one may have less: an export that broke off half way is refused. */
  maxShrinkDefault: 0.5,
  /** A version replaced less than so long ago is not pruned: somebody may still load it, or want it back. */
  pruneAgeMs: 3_600_000,
  /** Versions that `prune` leaves unless told otherwise: the published one, the one before, and one more. */
  pruneKeepDefault: 3,
  pruneKeepMax: 10_000,
  /** What was just written is read back in threads when it is more than this: starting them takes as long as reading that. */
  readBackHereMax: 256 * MiB,
  /** Read at a time for that; smaller pieces cost a quarter more. */
  readBackPieceSize: 1 * MiB,
  /** How often `publish` asks the routers what they serve. */
  servedPollMs: 200,
  /** How long `publish` waits for that unless told otherwise: loading 100 M entries takes a minute, and shards take their turns. */
  servedWaitDefaultMs: 600_000,
  servedWaitMaxMs: 24 * 3_600_000,
  /** Records of each kind that `diff` shows: they are held in memory, keys and the beginnings of values. */
  diffSamplesMax: 10_000,

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
  /** How long a router that was told to stop may serve on, not ready: what sends clients to it has noticed long before. */
  routerDrainMaxMs: 600_000,
  /** How long it then keeps idle connections: a client that asks at least so often reads in an answer that its connection ends, and is never cut off. */
  goodbyeMs: 1_000,
  /** Processes behind one port: more than the cores of any machine serve nobody. */
  routerWorkersMax: 256,
  /** How long a server keeps an idle connection: must outlast every client of ours (`clientKeepAliveMs`). */
  serverKeepAliveMs: 72_000,
  /** A connection is kept so much longer than its client is told, as Node does it: the client should be the one who closes. */
  serverKeepAliveSlackMs: 1_000,
  /** Header fields of a plain GET: twice what browsers send; more is for Node's parser. A connection remembers them. */
  plainFieldsSizeMax: 2 * KiB,
  /** All sockets are read into one buffer of this size, which is what Node would make for each read. */
  readBufferSize: 64 * KiB,
  retryAfterSeconds: 1,
  /**
   * Memory of answers that are due, in bytes: replies of shards, and what clients have not taken. Eight answers to `/mget` as large as there are; in a router
   * with less memory a share of what it has, but room for one of them.
   */
  owedSizeMax: 512 * MiB,
  owedSizeMin: 128 * MiB,
  owedMemoryShare: 0.25,
  /** Share of it that keys of /mgets and large values may take: the rest is for small answers to `/get`. */
  owedLargeShare: 0.75,
  /** Smaller pieces of memory are not counted: there are many, soon gone, and to count each would cost more than they take. */
  owedPieceMin: 16 * KiB,
  /** How often Node looks whether a client takes anything of an answer; one that took nothing since the look before is ended, so after twice as long at the most. */
  answerStalledMs: 10_000,

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
  /** How much more loaded than another, in keys, a holder may be and still be preferred because it is asked anyway: some tens of microseconds of its work. */
  batchAffinityKeys: 64,
  /** How long a shard that deferred every key of a batch is left alone: it has its hands full. */
  deferralPauseMs: 5,
  /** Keys that may wait for one member: at 2 M look-ups/s a core 32 Ki are 16 ms of its work. */
  memberQueueMax: 32 * KiB,
  /** Keys that may wait in the whole router. */
  routerQueueMax: 128 * KiB,
  /** A value up to this size is handled as one latin1 string and leaves with its header in one write; a larger one as bytes, without a copy. */
  oneWriteSizeMax: 64 * KiB,
  /** Buffers for what is written to sockets: larger than usual batches and answers to /mget; what is larger gets one of its own. */
  outgoingSize: 64 * KiB,
  /** Of these buffers, those that are kept for the next message: few are in use at once. */
  outgoingKeptMax: 16,
  /** The head of a message with the longest host name. */
  headRoomSize: 512,
  /** Lookups that wait for the same key on its way; one more asks for itself, so that no answer has to be given to too many at once. */
  flightFollowersMax: 1_024,
  /** The cache holds at least this many answers: a larger one is not taken in. */
  hotAnswersMin: 64,
  /** What a look-up touches of each bucket of a batch before it searches the first: most of a bucket of usual records; large values are not worth it. */
  bucketTouchSize: 512,
  /** Idle sockets to a shard close before the shard's own keep-alive ends. */
  clientKeepAliveMs: 60_000,
  /** A socket of a batch without a byte for this long is destroyed. */
  socketSilentMs: 5_000,
  connectTimeoutMs: 1_000,
  /** The head of a shard's reply takes 200 bytes; what is longer is none. */
  replyHeadSizeMax: 8 * KiB,
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
  /** And that of a version that is on disk only until the next one is served. */
  swapCacheMin: 64 * KiB,
  /** Share of the record cache that is filled at the start: beyond it, what comes in would push out what just came. */
  preloadShare: 0.85,
  /** Left free when a shard decides by itself how much memory to take. */
  memoryReserve: 128 * MiB,

  // Places: folders and object stores.
  /** A file above this goes to an object store in parts of this size, each held in memory while it is sent: 10,000 parts are S3's limit, 5 MiB its least. */
  storePartSize: 16 * MiB,
  /** What is handed to a socket, or read from a folder, at a time: the grain of throttling and of progress. */
  storePieceSize: 256 * KiB,
  /** Requests with bytes at a time: enough to fill most links, and 64 MiB of parts in memory. */
  storeParallelDefault: 4,
  storeParallelMax: 64,
  /** Objects that are looked for at a time: nothing but round trips. */
  storeLooksParallel: 16,
  /** Tries of one request before a store counts as unreachable: with the delays between them some 10 s. */
  storeTriesMax: 6,
  storeRetryDelayMs: 300,
  storeRetryDelayMaxMs: 5_000,
  storeConnectTimeoutMs: 5_000,
  /** A socket to a store without a byte for this long is given up. */
  storeSilentMs: 30_000,
  /** A request that has had no answer, and of whose body nothing was taken, for this long is given up: it waits for a socket, since all else is noticed before. */
  storeAnswerMs: 60_000,
  /** The rest of an answer that nobody wants is read up to this size, so that its socket can be used again; a longer one costs the socket. */
  storeRestSizeMax: 64 * KiB,
  /** Idle sockets to a store close before its own keep-alive ends, which is 5 s for many. */
  storeKeepAliveMs: 4_000,
  /** One page of a listing, 1,000 objects, is about 400 KiB. */
  storeAnswerSizeMax: 4 * MiB,
  storePrefixSizeMax: 512,
  /** Times that a file is sent to a store before what arrives damaged is an error. */
  storeSendsMax: 3,
  /** Files in a folder that were to become objects, and that nobody has written to for this long. */
  storeLeftoverMs: 600_000,
  /** The least rate that can be asked for, in bytes a second: at less, a socket would be silent for too long. */
  storeRateMin: 64 * KiB,

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
  /** Copies of each slice in a local cluster of at least so many shards; with two shards each would hold everything. */
  replicasDefault: 2,
  membersForReplicas: 3,
  /** Shards of a local cluster, and its routers: more processes than this on one machine serve nobody. */
  localShardsMax: 64,

  // Tools.
  toolDeadlineMs: 5_000,
  /** Polls of a member before a tool does without it: one may be lost, or be noticed too late by a tool that stood still itself. */
  toolPollsMax: 3,
  toolReplySizeMax: 128 * MiB,

  // Versions, in the shard.
  /** A shard keeps a version for so long after a router last named it, in a poll or a batch: as many polls may be lost. */
  versionLeaseMs: 30_000,
  /** So long behind a newer complete version, leases on an older one count no more: one router must not hold all shards back for ever. */
  versionBehindMaxMs: 600_000,
  /** Nor, after so long, on one that can never be complete again: what it takes may be what the next version waits for. */
  versionLostMaxMs: 60_000,
  /**
   * A next version that is not complete, and of which nobody has anything to load, for so long, is left out when a newer one is wanted: what is damaged has been
   * tried to be healed five times by then, a shard that died has come back, or others have begun to load what it had.
   */
  versionStuckMs: 60_000,
  /** Routers whose leases a shard remembers; beyond it those count whose polls came first, for as long as they come. */
  leasingRoutersMax: 1_024,
  /** Versions in use that a poll may name: the one that is served, and those of requests under way. */
  versionsInUseMax: 8,
  /**
   * What is moved from memory to disk at a time while a newer version is loaded, as a share of the budget: after each, garbage is collected, for which the
   * shard stands still for some 50 ms.
   */
  swapStepShare: 0.15,

  // Versions, in the router.
  /** A newer version that somebody still loads is switched to after this long, when each slice has a holder. */
  versionFlipMs: 60_000,
  /** How long a starting router waits for a complete version before it serves the best covered one. */
  versionWaitMs: 2_000,
  /** How long a starting router learns the members before it listens all the same: a poll of each, and the wait for a complete version. */
  listenWaitMs: 3_000,

  // Moving slices between shards (docs/decisions/009-yield-before-drop.md).
  /** A slice that a shard gives up is reported as yielding for so long, and must not be asked for in that time: ten polls of the others. */
  sliceYieldMs: 10_000,
  /** What others report counts for giving something up only if it was asked for so lately; much less than `sliceYieldMs`. */
  reportFreshMs: 2_000,
  /** Slices of placements that are kept for the next decision: 16 placements of 4,096 slices, about 0.5 MB each. */
  slicesRecalledMax: 64 * KiB,
  /** A member that said that it leaves has this time to come back under its name before its slices are replicated anew. */
  memberReturnMs: 30_000,
  /** How long a shard that was told to stop waits for others to hold what only it holds. */
  leaveGraceDefaultMs: 30_000,
  leaveGraceMaxMs: 3_600_000,
  /** A shard that leaves stays at least so long, as long as others stay: all should have seen it leave, or it would look like a death. */
  leaveNoticeMs: 1_500,
  /** Others that are silent for so long are not waited for by a shard that leaves: when all stop at once, some are gone before they were seen to leave. */
  leaveSilentMs: 4_000,
  leaveCheckIntervalMs: 50,
  /** How long nothing moves while more than half of the members are silent; after that it is how things are. */
  placementFrozenMs: 600_000,
  /** A member that returns from a death or a long silence for the second time is held out for this long; then doubled with each time. */
  flapHoldMinMs: 30_000,
  flapHoldMaxMs: 600_000,
  /** After so long without another return the count begins anew. */
  flapForgiveMs: 600_000,

  // Slices from others, scrubbing, healing (docs/decisions/013-scrub-and-heal.md).
  /** Slices that a shard sends to others at a time: more would only share the same rate. */
  transfersMax: 4,
  /** Bytes that are sent in one go between two requests: some 50 us of a core. */
  transferPieceSize: 128 * KiB,
  /** A receiver that takes nothing, or a sender that sends nothing, for this long is given up. */
  transferSilentMs: 10_000,
  /** Bytes a second that a shard gives to others, and takes from a place: 64 MiB cost some 5 % of a core, and a usual slice takes a second. */
  fetchRateDefault: 64 * MiB,
  fetchRateMin: 64 * KiB,
  fetchRateMax: 64 * GiB,
  /** Bytes a second that are checked in the background: well below 1 % of a core; 10 GiB in 45 minutes. */
  scrubRateDefault: 4 * MiB,
  scrubRateMax: 1 * GiB,
  /** Bytes that the scrub checks in one go: some 0.3 ms, or a millisecond where a record cache is compared with them; smaller ones cost more in waking up than in checking. */
  scrubPieceSize: 512 * KiB,
  /** What is suspected is checked at this rate instead. */
  suspectCheckRate: 256 * MiB,
  /** Busier than this share of the last second, a shard neither scrubs nor sends at its full rate. */
  busyShare: 0.7,
  busyLookMs: 1_000,
  /** How long the scrub waits at a time for a shard that stays busy; and by how much a sender slows down for it. */
  busyPauseMs: 5_000,
  busySlowdown: 4,
  /** How often, and of how many files each time, the shard looks whether they are still there as they were. */
  glanceIntervalMs: 1_000,
  glanceFilesMax: 64,
  /** A file that is gone is missed for so long before it is written again: a version that is just being replaced is not there for a moment. */
  missingFileMs: 2_000,
  /** What could not be healed is tried again after this time, doubled with each failure. */
  healDelayMinMs: 1_000,
  healDelayMaxMs: 30_000,
  /** What is damaged again so soon after it was healed was not healed of its cause: the delays go on. */
  healRelapseMs: 600_000,
  /** All who have a good copy have their hands full: asked again after this time. */
  fetchBusyDelayMs: 300,
  /** How often a shard looks at the source for a newer version. */
  sourcePollIntervalMs: 5_000,
  /** A version of which members report more than the `current` at hand says is taken up after this long: the folder is behind, not on its way. */
  membersAheadMs: 10_000,
  manifestDeadlineMs: 10_000,
  /** A look at `current` waits so long for a manifest that comes from elsewhere: usual ones are here by then. What takes longer goes on in the background. */
  manifestWaitMs: 1_000,
  /** A place that could not give a manifest is asked for it again after this long, as often as a source is looked at. */
  manifestRetryDelayMs: 5_000,
  /** Such questions that are remembered: those for the published version and the one before it, to members, backup and source, and as many old ones. */
  manifestAskingsMax: 12,
  /** How often a shard looks for what dead processes left in its folder; with a source, also for versions in its cache that nobody uses any more. */
  unusedLookIntervalMs: 60_000,

  // What a process says of itself.
  /** How often the lateness of an event loop is looked at: often enough to see what a hedge would wait for, seldom enough to cost nothing. */
  loopDelayResolutionMs: 20,
  /** What `/status` says of it is of the last whole window: a monitor that looks every few seconds misses none. */
  loopDelayWindowMs: 5_000,

  // The local cluster.
  restartDelayMinMs: 100,
  restartDelayMaxMs: 10_000,
  /** A child that ran for this long starts with the shortest delay again. */
  restartForgiveMs: 30_000,
  stopGraceMs: 10_000,
  /** How often a starting cluster asks its router whether all is there. */
  localStatusIntervalMs: 50,
  /** Ports that are tried before giving up. */
  localPortsTriedMax: 1_000,
  /** Where any port will do: above those that services have, and below those that kernels give away (Linux: from 32,768 on; others: from 49,152). */
  localPortMin: 10_000,
  localPortsEnd: 32_000,

  // Failure, in the router.
  /** Keys that may be sent twice, as a share of those sent in the last `retryWindowMs`: a cluster in trouble must not get twice its load. */
  retryShare: 0.1,
  retryWindowMs: 10_000,
  /** Steps in which the window moves. */
  retryWindowParts: 10,
  /** Keys that may be sent twice whatever came before: a router with little to do should not fail a key for its budget. */
  retryReserveKeys: 64,
  /** Tries of one key that a shard has seen: the first, and one more elsewhere. */
  keyTriesMax: 2,
  /** Times that one key is queued at all, those that nobody has seen included: refusals end too. */
  keyAsksMax: 4,
  /** Times that one key is taken out of a queue for another one, in which it costs nothing to wait: members that falter by turns do not pass it on for ever. */
  keyMovesMax: 8,
  /** A batch is late after its member's own quantile of latency ... */
  hedgeQuantile: 0.95,
  /** ... but never before: below it lies what a collection of garbage or a busy core costs anyway. */
  hedgeDelayMinMs: 5,
  /** As long as too little is known of a member: its first batches find cold code and new connections. */
  hedgeDelayUnknownMs: 50,
  /** Replies before the quantile says something. */
  latencySamplesMin: 32,
  /** Replies after which the older half counts half: the quantile follows a change within seconds. */
  latencySamplesMax: 512,
  /** A timer of the router that runs so much late says that the router was late, not the member: nothing is hedged then. */
  routerLateMs: 10,
  /** The same for silence, which takes longer: a router that is a little late all the time must still find it. */
  silenceLateMs: 100,
  /** Failed batches in a row that eject a member: one lost connection may fail as many as were under way. */
  ejectFailures: 5,
  /** No answer for so long while batches are under way ejects a member: longer than any pause of a healthy one. */
  ejectSilenceMs: 500,
  /** Silent for so long, a member is not asked even where nobody else holds the slice: its keys fail at once, not at their deadlines. */
  memberGoneMs: 1_000,
  /** The first probe of an ejected member; the next ones wait twice as long each. */
  probeDelayMinMs: 1_000,
  probeDelayMaxMs: 30_000,
  /** Share by which a delay is shortened or lengthened at random: routers that ejected a member together should not probe it together. */
  probeJitter: 0.2,
  /** A member that is well for so long after its return is probed after the shortest delay again. */
  probeForgiveMs: 30_000,
  /** Probes without an answer that may be under way: their sockets are beside those of the batches. */
  probesInFlightMax: 2,
  /** Keys under way to one member as long as nothing is known of it, in batches of half as many: an /mget leaves at once; a fast one has more after some milliseconds. */
  windowStartKeys: 1_024,
  /** However slow it is: fewer would cost more for their batch than for themselves. */
  windowKeysMin: 32,
  /** Answers within this share of the deadline let the window of a member grow ... */
  windowFastShare: 0.125,
  /** ... those after this one shrink it; and for so long, about, keys may wait for one that cannot keep up. Half of the deadline in all: the rest is for retries. */
  windowSlowShare: 0.25,
  /** Share of the latest batch in the smoothed latency. */
  windowSmoothing: 0.25,
  /** So many keys may wait in any case: an /mget on a member that was slow for a moment. */
  windowWaitingMin: 128,
  /** Share of a queue that the keys of /mgets may take: the rest is for single GETs. */
  bulkQueueShare: 0.75,
  /** Batches with keys of /mgets under way to one member: one more is left for single GETs alone. */
  bulkBatchesInFlightMax: 3,
  /** Keys of a batch that single GETs leave to waiting /mgets. */
  bulkBatchKeysMin: 256,
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
assert(limits.toolPollsMax * limits.pollDeadlineMs < limits.toolDeadlineMs, 'silent members take a tool no longer than one that is slow');
assert(limits.memberSilentMs > 2 * limits.pollIntervalMs, 'one lost poll does not make a member dead');
assert(limits.slicesRecalledMax >= 4 * limits.sliceCountMax, 'the placements of one decision are kept for the next');
assert(limits.reportFreshMs > limits.pollIntervalMs, 'usual polls are fresh enough to decide upon');
assert(limits.sliceYieldMs > 4 * limits.reportFreshMs, 'whoever gives a slice up was seen to do so long before');
assert(limits.leaveNoticeMs > limits.pollIntervalMs + limits.pollStartIntervalMs, 'whoever leaves is polled once more');
assert(limits.leaveSilentMs > limits.memberSilentMs + limits.pollIntervalMs, 'one that was silent for a moment is asked again');
assert(limits.memberReturnMs < limits.memberAbsentMs, 'one that left is forgotten before one that is absent');
assert(
  limits.drainMs > limits.deadlineDefaultMs && limits.drainMs < limits.stopGraceMs,
  'a server answers what it has taken before it is killed',
);
assert(
  limits.owedSizeMin * limits.owedLargeShare >= limits.mgetValuesSizeMax + limits.batchReplySizeMax + limits.valueSizeMax,
  'the values of one /mget fit, with the reply that holds the last of them',
);
assert(limits.goodbyeMs < limits.drainMs, 'an idle connection does not hold up the end');
assert(limits.ejectSilenceMs > limits.hedgeDelayUnknownMs && limits.memberGoneMs > limits.ejectSilenceMs, 'late, then ejected, then gone');
assert(limits.versionLeaseMs > 4 * limits.memberSilentMs, 'a router that shards can hear keeps its leases');
assert(limits.versionBehindMaxMs > limits.versionFlipMs + limits.versionLeaseMs, 'every router had the time to switch');
assert(
  limits.versionStuckMs > limits.healDelayMaxMs + limits.sliceOrphanedMs + limits.memberSilentMs,
  'what was damaged or lost was tried once more before its version is left out',
);
assert(limits.listenWaitMs >= limits.pollDeadlineMs + limits.versionWaitMs, 'a router that listens serves what there is to serve');
assert(limits.memberSilentMs > limits.memberGoneMs, 'what a router sees by its own requests comes before what its polls tell');
assert(limits.probeDelayMaxMs * (1 + limits.probeJitter) <= limits.deadlineMaxMs, 'a probe fits the timing wheel');
assert(limits.windowFastShare <= limits.windowSlowShare / 2, 'a window that doubles does not become slow at once');
assert(limits.windowStartKeys >= 2 * limits.mgetKeysMax, 'an /mget leaves at once');
assert(limits.bulkBatchesInFlightMax < limits.batchesInFlightMax, 'a batch under way is left for single GETs');
assert(
  limits.transferPieceSize / limits.fetchRateMin < limits.transferSilentMs / 1_000 / limits.busySlowdown,
  'a throttled sender is not a silent one',
);
assert(limits.manifestAskingsMax >= 2 * 3, 'no question for a manifest that is wanted is forgotten under way');
assert(limits.missingFileMs >= 2 * limits.glanceIntervalMs, 'what is gone is looked for twice before it is written again');
assert(limits.storePartSize >= 5 * MiB && limits.sliceSizeMax / limits.storePartSize <= 10_000, 'the largest slice fits the parts of S3');
assert(limits.storeAnswerMs > limits.storeConnectTimeoutMs + limits.storeSilentMs, 'a connection or a socket that fails says so itself');
assert(limits.storePieceSize / limits.storeRateMin < limits.storeSilentMs / 2_000, 'a throttled socket is not a silent one');
