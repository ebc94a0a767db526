// One job as its orderer sees it: what is known of it, callbacks, a stream of its events, its end.
//
// Jobs arrive whole (answers) and in pieces (events). Every durable change raises `v`, so merging is
// one rule: the higher `v` wins, and at the same `v` progress goes only forward. Callbacks hear of
// what is different afterwards, so a late or repeated message is not heard at all.

import { APPLY, changes, further, hasEnded } from "./job-change.js";
import { JobEvents } from "./job-events.js";
import { capOf, deferred } from "./wait.js";

/** @typedef {import("./framewire.d.ts").Job} Job */
/** @typedef {import("./framewire.d.ts").Listeners} Listeners */
/** @typedef {import("./framewire.d.ts").Outcome} Outcome */
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
    listeners.change?.(this.#job, this);
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
    const after = { ...(job.v === before.v && before), ...job, frames: job.frames ?? [] };
    if (job.v === before.v) after.progress = further(before.progress, job.progress);
    return this.#put(after);
  }

  /**
   * Takes an event of the stream.
   * @param {import("./job-change.js").EventType} type
   * @param {import("./job-change.js").EventData} data
   */
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
    this.#tell("change", after);
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
