// One job as its orderer sees it: what is known of it, callbacks, a stream of its events, its end.
//
// Jobs arrive whole (answers) and in pieces (events). Every durable change raises `v`, so merging is
// one rule: the higher `v` wins, and at the same `v` progress goes only forward. Callbacks hear of
// what is different afterwards, so a late or repeated message is not heard at all.

import { changes } from "./changes.js";
import { capOf, deferred } from "./wait.js";

/** What each event changes, beside `v` and `status`. */
const APPLY = {
  queued: (job, data) => ({
    queue_position: data.position ?? null,
    estimated_wait_ms: data.estimated_wait_ms ?? null,
    progress: null,
    preview: null,
    frames: [],
    error: null,
    finished_at: null,
    timings: null,
    cancel_requested: false,
    retry_count: data.retry_count ?? job.retry_count,
    // Why it waits again, which no answer tells: the reason, when it is tried, what went wrong.
    reason: data.reason,
    retry_at: data.retry_at ?? null,
    failure: data.error?.message ?? null,
  }),
  position: (job, { ahead, eta_ms }) => ({
    queue_position: ahead ?? null,
    estimated_wait_ms: eta_ms ?? job.estimated_wait_ms,
    retry_at: null,
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
  completed: (job, { frames, missing, timings }) => ({
    frames: frames ?? job.frames,
    missing: missing ?? [],
    timings: timings ?? null,
  }),
  failed: (job, { error, fallback }) => ({
    error: error ?? null,
    fallback: fallback ?? job.fallback,
  }),
  cancelled: (job, { fallback }) => ({ fallback: fallback ?? job.fallback }),
};

export const EVENT_TYPES = Object.keys(APPLY);

/** Of these only the newest is worth waiting in line. */
const PASSING = new Set(["position", "progress"]);

const hasEnded = ({ status }) => ["completed", "failed", "cancelled"].includes(status);

const further = (before, after) => ((before?.step ?? -1) > (after?.step ?? -1) ? before : after);

export class JobHandle {
  #job;
  #actions;
  #cap_ms_max;
  #listeners = [];
  #readers = new Set();
  #end;
  #first;
  #cap = 0;
  #told = false;

  /**
   * @param {object} job whole
   * @param {{cancel: Function, retry: Function, settled: Function}} actions
   * @param {{capMs?: number, capMsMax: number}} cap
   */
  constructor(job, actions, { capMs, capMsMax }) {
    this.#job = { ...job, frames: job.frames ?? [] };
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

  /** Adds callbacks by name; they hear at once what is there already. */
  on(listeners) {
    this.#listeners.push(listeners);
    for (const [type, value] of changes({ frames: [] }, this.#job)) listeners[type]?.(value, this);
    listeners.change?.(this.#job, this);
    if (this.#told) listeners.fallback?.(this.#fallback(), this);
    if (this.settled) listeners.settled?.(this.#outcome(), this);
    return this;
  }

  /** Reads the events from now to the end; who reads slowly misses progress and nothing else. */
  [Symbol.asyncIterator]() {
    const queue = [];
    const reader = { wake: null, done: this.settled };
    reader.push = (event) => {
      if (PASSING.has(event.type) && queue.at(-1)?.type === event.type) queue.pop();
      queue.push(event);
      reader.wake?.();
    };
    reader.end = () => {
      reader.done = true;
      this.#readers.delete(reader);
      reader.wake?.();
    };
    if (!reader.done) this.#readers.add(reader);
    return {
      next: async () => {
        while (queue.length === 0 && !reader.done) {
          await new Promise((wake) => (reader.wake = wake));
        }
        return queue.length
          ? { value: queue.shift(), done: false }
          : { value: undefined, done: true };
      },
      return: async () => {
        reader.end();
        return { value: undefined, done: true };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  /** Asks for its end; what ran may still complete. */
  cancel() {
    return this.#actions.cancel(this);
  }

  /** Tries it again after it failed or was cancelled; `result` and `first` are new ones. */
  retry() {
    return this.#actions.retry(this);
  }

  /** Takes the whole job from an answer; gives whether that was news. */
  take(job) {
    const before = this.#job;
    if (job.v < before.v) return false;
    const after = { ...(job.v === before.v && before), ...job, frames: job.frames ?? [] };
    if (job.v === before.v) after.progress = further(before.progress, job.progress);
    return this.#put(after);
  }

  /** Takes an event of the stream. */
  apply(type, data) {
    const before = this.#job;
    if (data.v < before.v || (hasEnded(before) && data.v === before.v)) return;
    const status = data.status ?? before.status;
    const after = { ...before, ...APPLY[type](before, data), v: data.v, status };
    if (JSON.stringify(after) === JSON.stringify(before)) return;
    for (const reader of this.#readers) reader.push({ type, ...data });
    this.#put(after);
  }

  /** The gateway does not know it: it failed, and its fallback stands in. */
  lost(problem) {
    const error = { code: problem.code, message: problem.message, retryable: false };
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
    if (this.frames.length) return void this.#first.resolve(this.frames[0]);
    const { capMs, capMsMax } = this.#cap_ms_max;
    const cap_ms = capMs ?? capOf(this.#job.estimated_wait_ms, capMsMax);
    this.#cap = setTimeout(() => this.#showFallback(), cap_ms);
  }

  #put(after) {
    const before = this.#job;
    this.#job = after;
    if (hasEnded(before) && !hasEnded(after)) this.#begin();
    let news = before.status !== after.status;
    for (const [type, value] of changes(before, after)) {
      news = true;
      if (type === "frame") {
        clearTimeout(this.#cap);
        this.#first.resolve(value);
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
    this.#first.resolve(this.frames[0]);
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

  #fallback() {
    const { fallback, status, isUnknown } = this.#job;
    const reason = isUnknown ? "unknown" : this.settled ? status : "waited";
    return { ...fallback, reason };
  }

  #outcome() {
    const { status, frames, error, fallback } = this.#job;
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

  /** A callback that throws is its author's to hear of, and holds up nobody else. */
  #tell(type, value) {
    for (const listeners of this.#listeners) {
      try {
        listeners[type]?.(value, this);
      } catch (error) {
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}
