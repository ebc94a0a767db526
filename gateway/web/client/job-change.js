// What each event changes in a job, and what of a change is worth telling.

/** @typedef {import("./framewire.d.ts").Job} Job */
/** @typedef {import("./framewire.d.ts").Progress} Progress */
/** @typedef {{job: string, v: number, status?: import("./framewire.d.ts").Status,
 *   [field: string]: any}} EventData */
/** @typedef {"queued" | "position" | "started" | "progress" | "preview" | "frame-ready" |
 *   "completed" | "failed" | "cancelled"} EventType */

/**
 * What each event changes, beside `v` and `status`.
 * @type {Record<EventType, (job: Job, data: EventData) => Partial<Job>>}
 */
export const APPLY = {
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
  completed: (job, { frames, missing, timings, cached }) => ({
    frames: frames ?? job.frames,
    timings: timings ?? null,
    // What followed another's job was in the queue until now.
    queue_position: null,
    estimated_wait_ms: null,
    ...(missing && { missing }),
    ...(cached && { cached }),
  }),
  failed: (job, { error, fallback }) => ({
    error: error ?? null,
    fallback: fallback ?? job.fallback,
  }),
  cancelled: (job, { fallback }) => ({ fallback: fallback ?? job.fallback }),
};

export const EVENT_TYPES = /** @type {EventType[]} */ (Object.keys(APPLY));

/** @param {Job} job */
export const hasEnded = ({ status }) => ["completed", "failed", "cancelled"].includes(status);

/**
 * @param {Progress | null} before
 * @param {Progress | null} after
 */
export const further = (before, after) => ((before?.step ?? -1) > (after?.step ?? -1) ? before : after);

/**
 * Lists what is new in a job, as callbacks name it.
 * @param {Partial<Job> & {frames: Job["frames"]}} before
 * @param {Job} after
 */
export function changes(before, after) {
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
