// How long the client waits for what, in one place, so that a test can be faster than life.

/** @typedef {import("./framewire.d.ts").Timing} Timing */

/** @type {Readonly<Timing>} */
export const TIMING = Object.freeze({
  /** A stream that says nothing for so long at its beginning is given up; pings say more later. */
  firstSyncMs: 10_000,
  /** Pings that may stay out before silence counts as an error. */
  silencePings: 3,
  /** The backoff starts over only after a stream has lived this long. */
  steadyMs: 30_000,
  /** First bound of the pause before a reconnection, which doubles up to the second (full jitter). */
  reconnectMs: 1_000,
  reconnectMsMax: 30_000,
  /** Connections without a first word after which polling takes over. */
  blockedTries: 3,
  /** Bound of the pause between looks whether the stream can be held again. */
  blockedAgainMs: 30_000,
  /** Polling: the pause after news, and what it grows to without any. */
  pollMs: 2_000,
  pollMsMax: 5_000,
  /** A look at the jobs in flight while the stream lives: the net beneath it. */
  checkMs: 60_000,
  /** Times that a submit is sent, always with the same key. */
  submitTries: 7,
  submitMs: 500,
  submitMsMax: 30_000,
  /** Times that a frame is fetched while nobody answers. */
  loadTries: 5,
  /** A frame that failed is made anew after a pause that grows to the second (full jitter). */
  remakeMs: 1_000,
  remakeMsMax: 15_000,
  /** Longest time without anything to show: the hard cap. */
  capMsMax: 30_000,
  /** Pings that may stay out before a follower doubts its leader, and polls. */
  quietPings: 1.4,
  /** And before the leader is wedged, and its lock is taken. */
  leaderPings: 3,
});

/** Draws a pause with full jitter, so that many pages don't come back in step. @param {number} bound_ms */
export const jitter = (bound_ms) => Math.random() * bound_ms;

/**
 * @param {number} tries how often it failed before; 0 is the first time
 * @param {number} first_ms
 * @param {number} ms_max
 */
export const backoff = (tries, first_ms, ms_max) => jitter(Math.min(ms_max, first_ms * 2 ** tries));
