// Knows every job of the session: what the gateway last said about it, from whichever side.
//
// Jobs arrive whole (snapshots, answers) and in pieces (events). Every durable change raises `v`, so
// merging is one rule: the higher `v` wins, and at the same `v` the pieces are the fresher ones.
// Listeners hear of a job only after it has changed; nothing here touches the page.

import { getJob } from "/studio/api.js";
import { hasEnded } from "/studio/words.js";

/** What each event changes, beside `v` and `status`. */
const APPLY = {
  queued: (job, data) => ({
    queue_position: data.position ?? null,
    estimated_wait_ms: data.estimated_wait_ms ?? null,
    reason: data.reason,
    retry_at: data.retry_at ? new Date(data.retry_at).getTime() : null,
    failure: data.error?.message ?? null,
    progress: null,
    preview: null,
    frames: [],
    error: null,
    finished_at: null,
    timings: null,
    cancel_requested: false,
  }),
  position: (job, data) => ({
    queue_position: data.ahead ?? null,
    estimated_wait_ms: data.eta_ms ?? job.estimated_wait_ms,
    retry_at: null,
  }),
  started: (job, data) => ({ attempt_count: data.attempt ?? job.attempt_count, ...onward(job) }),
  progress: (job, { stage, step, steps, fraction, eta_ms }) => ({
    // A change of stage comes without steps, and the bar stays where it was.
    progress:
      steps === undefined ? { ...job.progress, stage } : { stage, step, steps, fraction, eta_ms },
    ...onward(job),
  }),
  preview: (job, { index, url, step }) => ({ preview: { index, url, step }, ...onward(job) }),
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

/** Whatever was said about waiting is over. */
const onward = () => ({ queue_position: null, retry_at: null, reason: null, failure: null });

export const EVENT_TYPES = Object.keys(APPLY);

export class Jobs {
  #jobs = new Map();
  #fetching = new Map();
  #listeners = [];

  /** Calls back with (job, before) on every change, and with (null, before) when a job is gone. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Newest first. */
  all() {
    return [...this.#jobs.values()].sort(
      (a, b) => b.created_at.localeCompare(a.created_at) || b.id.localeCompare(a.id),
    );
  }

  get(id) {
    return this.#jobs.get(id);
  }

  /** Takes a whole job; its `retry_at` becomes epoch ms, as in events. */
  take({ retry_at, ...job }) {
    job.retry_at = retry_at ? Date.parse(retry_at) : null;
    const before = this.#jobs.get(job.id);
    if (before && job.v < before.v) return;
    const after = before && job.v === before.v ? { ...job, ...pieces(before, job) } : { ...job };
    after.frames ??= [];
    this.#put(after, before);
  }

  /** Takes an event; of a job not known yet, only that it is there. */
  apply(type, data) {
    const before = this.#jobs.get(data.job);
    if (!before) return this.fetch(data.job, { type, data });
    if (data.v < before.v) return;
    const change = APPLY[type](before, data);
    this.#put({ ...before, ...change, v: data.v, status: data.status ?? before.status }, before);
  }

  /**
   * Asks for a job; one that the gateway no longer has is dropped.
   *
   * What the stream tells while the answer is on its way is kept and applied to it: the answer may
   * have been written just before.
   */
  async fetch(id, event) {
    const kept = this.#fetching.get(id);
    if (kept) return void (event && kept.push(event));
    const events = event ? [event] : [];
    this.#fetching.set(id, events);
    try {
      this.take(await getJob(id));
    } catch (error) {
      if (error.status === 404 || error.status === 410) this.#drop(id);
    } finally {
      this.#fetching.delete(id);
      if (this.#jobs.has(id)) for (const { type, data } of events) this.apply(type, data);
    }
  }

  /** After a snapshot: jobs that we hold for running and the gateway does not. */
  recheck(activeIds) {
    for (const job of this.#jobs.values()) {
      if (!hasEnded(job) && !activeIds.has(job.id)) this.fetch(job.id);
    }
  }

  #put(after, before) {
    this.#jobs.set(after.id, after);
    for (const listener of this.#listeners) listener(after, before ?? null);
  }

  #drop(id) {
    const before = this.#jobs.get(id);
    if (!before) return;
    this.#jobs.delete(id);
    for (const listener of this.#listeners) listener(null, before);
  }
}

/** What only events told, kept when a snapshot of the same version comes in between. */
function pieces(before, job) {
  return {
    progress: before.progress ?? job.progress,
    queue_position: before.queue_position ?? job.queue_position,
    reason: before.reason,
    retry_at: before.retry_at ?? job.retry_at,
    failure: before.failure,
    frames: before.frames.length > (job.frames?.length ?? 0) ? before.frames : job.frames,
  };
}
