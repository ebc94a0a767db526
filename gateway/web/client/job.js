// One job as its orderer sees it: what is known of it, callbacks, a stream of its events, its end.
//
// Jobs arrive whole (answers) and in pieces (events). Every durable change raises `v`, so merging is
// one rule: the higher `v` wins, and at the same `v` progress goes only forward. Callbacks hear of
// what is different afterwards, so a late or repeated message is not heard at all.

import { JobEvents } from "./job-events.js";
import { capOf, deferred } from "./wait.js";

/** @typedef {import("./framewire.d.ts").Job} Job */
/** @typedef {import("./framewire.d.ts").Progress} Progress */
/** @typedef {import("./framewire.d.ts").Listeners} Listeners */
/** @typedef {import("./framewire.d.ts").Outcome} Outcome */
/** @typedef {{job: string, v: number, status?: import("./framewire.d.ts").Status,
 *   [field: string]: any}} EventData */
/** @typedef {"queued" | "position" | "started" | "progress" | "preview" | "frame-ready" |
 *   "completed" | "failed" | "cancelled"} EventType */

/**
 * What each event changes, beside `v` and `status`.
 * @type {Record<EventType, (job: Job, data: EventData) => Partial<Job>>}
 */
const APPLY = {
  queued: (job, data) => ({
    queue_position: data.position ?? null,
    estimated_wait_ms: data.estimated_wait_ms ?? null,
    progress: null,
    preview: null,
    frames: [],
    error: null,
  }),
  position: (job, { ahead, eta_ms }) => ({
    queue_position: ahead ?? null,
    estimated_wait_ms: eta_ms ?? job.estimated_wait_ms,
  }),
  started: (job, { attempt }) => ({
    attempt_count: attempt ?? job.attempt_count,
    queue_position: null,
  }),
  progress: (job, { stage, step, steps, fraction, eta_ms }) => ({
    // A change of stage comes without steps, and the bar stays where it was.
    progress:
      steps === undefined
        ? { ...job.progress, stage }
        : further(job.progress, { stage, step, steps, fraction, eta_ms }),
    queue_position: null,
  }),
  preview: (job, { index, url, step }) => ({ preview: { index, url, step }, queue_position: null }),
  "frame-ready": (job, { frame }) => ({
    frames: [...job.frames.filter((other) => other.index !== frame.index), frame].sort(
      (a, b) => a.index - b.index,
    ),
  }),
  completed: (job, { frames, timings }) => ({
    frames: frames ?? job.frames,
    timings: timings ?? null,
  }),
  failed: (job, { error, fallback }) => ({
    error: error ?? null,
    fallback: fallback ?? job.fallback,
  }),
  cancelled: (job, { fallback }) => ({ fallback: fallback ?? job.fallback }),
};

export const EVENT_TYPES = /** @type {EventType[]} */ (Object.keys(APPLY));

/** @param {Job} job */
const hasEnded = ({ status }) => ["completed", "failed", "cancelled"].includes(status);

/**
 * @param {Progress | null} before
 * @param {Progress | null} after
 */
const further = (before, after) => ((before?.step ?? -1) > (after?.step ?? -1) ? before : after);

/** @typedef {import("./framewire.d.ts").Frame | import("./framewire.d.ts").ShownFallback} First */
/** @typedef {(handle: JobHandle) => Promise<JobHandle>} Action */

export class JobHandle {
  #job;
  #actions;
  #cap_ms_max;
  /** @type {Listeners[]} */
  #listeners = [];
  /** @type {Set<JobEvents>} */
  #readers = new Set();
  /** @type {ReturnType<typeof deferred<Outcome>>} */
  #end = deferred();
  /** @type {ReturnType<typeof deferred<First>>} */
  #first = deferred();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #cap;
  #told = false;

  /**
   * @param {Partial<Job> & {id: string}} job whole
   * @param {{cancel: Action, retry: Action, settled: (handle: JobHandle) => void}} actions
   * @param {{capMs?: number, capMsMax: number}} cap
   */
  constructor(job, actions, { capMs, capMsMax }) {
    this.#job = /** @type {Job} */ ({ ...job, frames: job.frames ?? [] });
    this.#actions = actions;
    this.#cap_ms_max = { capMs, capMsMax };
    this.#begin();
  }

  /** The job as last heard of. */
  get job() {
    return this.#job;
  }
  get id() {
    return this.#job.id;
  }
  get status() {
    return this.#job.status;
  }
  /** Jobs ahead; null unless it waits. */
  get position() {
    return this.#job.queue_position ?? null;
  }
  get progress() {
    return this.#job.progress ?? null;
  }
  get preview() {
    return this.#job.preview ?? null;
  }
  get frames() {
    return this.#job.frames;
  }
  get settled() {
    return hasEnded(this.#job);
  }

  /** Resolves with the outcome at the end, whatever the end is; never rejects. */
  get result() {
    return this.#end.promise;
  }

  /** Resolves with the first thing to show, a frame or at the cap a fallback; never later. */
  get first() {
    return this.#first.promise;
  }

  /** Adds callbacks by name; they hear at once what is there already. @param {Listeners} listeners */
  on(listeners) {
    this.#listeners.push(listeners);
    for (const [type, value] of changes({ frames: [] }, this.#job)) {
      /** @type {any} */ (listeners)[type]?.(value, this);
    }
    if (this.#told) listeners.fallback?.(this.#fallback(), this);
    if (this.settled) listeners.settled?.(this.#outcome(), this);
    return this;
  }

  /** Reads the events from now to the end; who reads slowly misses progress and nothing else. */
  [Symbol.asyncIterator]() {
    const reader = new JobEvents(this.settled, (gone) => void this.#readers.delete(gone));
    if (!this.settled) this.#readers.add(reader);
    return reader;
  }

  /** Asks for its end; what ran may still complete. */
  cancel() {
    return this.#actions.cancel(this);
  }

  /** Tries it again after it failed or was cancelled; `result` and `first` are new ones. */
  retry() {
    return this.#actions.retry(this);
  }

  /** Takes the whole job from an answer; gives whether that was news. @param {Job} job */
  take(job) {
    const before = this.#job;
    if (job.v < before.v) return false;
    const after = { ...job, frames: job.frames ?? [] };
    if (job.v === before.v) after.progress = further(before.progress, job.progress);
    return this.#put(after);
  }

  /** Takes an event of the stream. @param {EventType} type @param {EventData} data */
  apply(type, data) {
    const before = this.#job;
    if (data.v < before.v || (hasEnded(before) && data.v === before.v)) return;
    const status = data.status ?? before.status;
    const after = { ...before, ...APPLY[type](before, data), v: data.v, status };
    if (JSON.stringify(after) === JSON.stringify(before)) return;
    for (const reader of this.#readers) reader.push({ type, ...data });
    this.#put(after);
  }

  /**
   * The gateway does not know it: it failed, and its fallback stands in.
   * @param {import("./session.js").Problem} problem
   */
  lost(problem) {
    const error = { code: problem.code ?? "UNKNOWN", message: problem.message, retryable: false };
    const fallback = problem.fallback ?? this.#job.fallback;
    this.#put({ ...this.#job, status: "failed", error, fallback, isUnknown: true });
  }

  /** Forgets timers and readers; nothing is heard any more. */
  close() {
    clearTimeout(this.#cap);
    for (const reader of this.#readers) reader.end();
  }

  #begin() {
    this.#end = deferred();
    this.#first = deferred();
    this.#told = false;
    if (this.settled) return void this.#settle();
    if (this.frames[0]) return void this.#first.resolve(this.frames[0]);
    const { capMs, capMsMax } = this.#cap_ms_max;
    const cap_ms = capMs ?? capOf(this.#job.estimated_wait_ms, capMsMax);
    this.#cap = setTimeout(() => this.#showFallback(), cap_ms);
  }

  /** @param {Job} after */
  #put(after) {
    const before = this.#job;
    this.#job = after;
    if (hasEnded(before) && !hasEnded(after)) this.#begin();
    let news = before.status !== after.status;
    for (const [type, value] of changes(before, after)) {
      news = true;
      if (type === "frame") {
        clearTimeout(this.#cap);
        this.#first.resolve(/** @type {First} */ (value));
      }
      this.#tell(type, value);
    }
    if (!hasEnded(before) && hasEnded(after)) this.#settle();
    return news;
  }

  #settle() {
    clearTimeout(this.#cap);
    if (this.frames.length === 0) this.#showFallback();
    const outcome = this.#outcome();
    if (this.frames[0]) this.#first.resolve(this.frames[0]);
    this.#end.resolve(outcome);
    this.#tell("settled", outcome);
    for (const reader of this.#readers) reader.end();
    this.#actions.settled(this);
  }

  #showFallback() {
    if (this.#told) return;
    this.#told = true;
    const fallback = this.#fallback();
    this.#first.resolve(fallback);
    this.#tell("fallback", fallback);
  }

  /** @returns {import("./framewire.d.ts").ShownFallback} */
  #fallback() {
    const { fallback, status, isUnknown } = this.#job;
    const end = /** @type {Outcome["status"]} */ (status);
    const reason = isUnknown ? "unknown" : this.settled ? end : "waited";
    return { ...fallback, reason };
  }

  /** @returns {Outcome} */
  #outcome() {
    const { frames, error, fallback } = this.#job;
    const status = /** @type {Outcome["status"]} */ (this.#job.status);
    const picture = frames[0]?.url ?? fallback?.url ?? null;
    return {
      status,
      frames,
      error: error ?? null,
      fallback: fallback ?? null,
      picture,
      job: this.#job,
    };
  }

  /**
   * A callback that throws is its author's to hear of, and holds up nobody else.
   * @param {string} type
   * @param {unknown} value
   */
  #tell(type, value) {
    for (const listeners of this.#listeners) {
      try {
        /** @type {any} */ (listeners)[type]?.(value, this);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}

/**
 * Lists what is new in a job, as callbacks name it.
 * @param {Partial<Job> & {frames: Job["frames"]}} before
 * @param {Job} after
 */
function changes(before, after) {
  /** @type {[string, unknown][]} */
  const news = [];
  if (after.queue_position != null && after.queue_position !== before.queue_position) {
    news.push(["position", after.queue_position]);
  }
  const { progress, preview } = after;
  if (progress && JSON.stringify(progress) !== JSON.stringify(before.progress)) {
    news.push(["progress", progress]);
  }
  if (preview && preview.url !== before.preview?.url) news.push(["preview", preview]);
  for (const frame of after.frames) {
    if (!before.frames.some(({ url }) => url === frame.url)) news.push(["frame", frame]);
  }
  return news;
}
