// Everything the studio says about a job, in plain words. Pure: a job goes in, a sentence comes
// out.

const STATUS = {
  sending: "Sending",
  queued: "Queued",
  processing: "Preparing",
  generating: "Developing",
  uploading: "Storing",
  completed: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

const ENDED = new Set(["completed", "failed", "cancelled"]);

/** Tells whether nothing but a retry can follow. */
export const hasEnded = (job) => ENDED.has(job.status);

export function duration(ms) {
  if (ms < 950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1).replace(/\.0$/, "")} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
}

/** A guess is rounded up to whole seconds: nobody waits "about 0.4 s". */
const roughly = (ms) => duration(Math.max(1000, Math.ceil(ms / 1000) * 1000));

export function status(job) {
  if (job.cancel_requested && !hasEnded(job)) return "Cancelling";
  return STATUS[job.status] ?? job.status;
}

/** What stands under the picture on the left: the place in the line, the step, or the outcome. */
export function where(job, now = Date.now()) {
  switch (job.status) {
    case "sending":
      return "On its way to the gateway";
    case "queued":
      if (retryAt(job) > now) return "Waiting to try again";
      if (job.queue_position === null || job.queue_position === undefined) return "Waiting";
      if (job.queue_position === 0) return "Next to be drawn";
      return `${job.queue_position} ${job.queue_position === 1 ? "job" : "jobs"} ahead`;
    case "processing":
      return "A worker has it";
    case "generating": {
      const { step, steps } = job.progress ?? {};
      return steps ? `Step ${step} of ${steps}` : "Starting to draw";
    }
    case "uploading":
      return job.input.n > 1 ? "Storing the frames" : "Storing the frame";
    case "completed":
      if (job.missing?.length) return `${job.frames.length} of ${job.input.n} frames`;
      return job.frames.length > 1 ? `${job.frames.length} frames` : "Finished";
    case "failed":
      return "Stopped";
    default:
      return "Stopped on request";
  }
}

/** Answers have it as text, events as a number. */
const retryAt = ({ retry_at }) => (retry_at ? new Date(retry_at).getTime() : 0);

/** How often it was tried, by itself and on request; empty where once was enough. */
export function tries({ attempt_count, retry_count }) {
  const parts = [];
  if (attempt_count > 1) parts.push(`attempt ${attempt_count}`);
  if (retry_count > 0) parts.push(`retried ${retry_count}×`);
  return parts.join(", ");
}

/** What stands under the picture on the right: the time to go, or the time it took. */
export function time(job, now) {
  if (job.status === "queued") {
    if (retryAt(job) > now) return `in ${duration(retryAt(job) - now)}`;
    return job.estimated_wait_ms ? `within ${roughly(job.estimated_wait_ms)}` : "";
  }
  if (job.status === "generating") {
    return job.progress?.eta_ms ? `about ${roughly(job.progress.eta_ms)} left` : "";
  }
  if (job.status === "completed" && job.timings) return duration(job.timings.total_ms);
  return "";
}

/** Where the time went; what took none is not worth a word. */
export function timings(job) {
  const { queue_ms, generate_ms, upload_ms } = job.timings ?? {};
  return [
    [queue_ms, "waiting"],
    [generate_ms, "drawing"],
    [upload_ms, "storing"],
  ].filter(([ms]) => ms >= 50);
}

/** The sentence beside the picture: calm news, or what went wrong; empty where all is as expected. */
export function note(job) {
  if (job.status === "failed") return sentence(job.error?.message ?? "The job failed.");
  if (job.status === "cancelled") return "Cancelled. Nothing more will be drawn.";
  if (job.missing?.length) {
    const made = job.frames.length;
    return `${made} of ${made + job.missing.length} frames could be made.`;
  }
  if (job.status !== "queued") return "";
  switch (job.reason) {
    case "lease_lapsed":
      return "A worker went away; another will pick this up.";
    case "worker_drain":
      return "The worker is shutting down and handed this back; another will pick it up.";
    case "retry":
      return job.failure ? `${sentence(job.failure)} It will be tried again by itself.` : "";
    default:
      return job.attempt_count > 0 ? "Back in the queue; a worker will pick it up." : "";
  }
}

const UNREACHED = "The gateway can't be reached. Your prompt is kept.";

/** Why an order was not accepted. */
export const refusal = ({ status, message }) => (status ? sentence(message) : UNREACHED);

/** When a refused order is worth another try. */
export function again(at, now) {
  if (at <= now) return "Try again now";
  return `Try again in ${duration(Math.ceil((at - now) / 1000) * 1000)}`;
}

/** What a screen reader is told when a job changes its state; steps are left to the progress bar. */
export function announcement(job) {
  const what = `“${clip(job.input.prompt, 60)}”`;
  switch (job.status) {
    case "queued":
      return `${what}: ${note(job) || `queued, ${where(job).toLowerCase()}.`}`;
    case "generating":
      return `${what} is developing.`;
    case "completed":
      return `${what} is done: ${count(job.frames.length, "frame")}. ${note(job)}`.trim();
    case "failed":
      return `${what} failed. ${note(job)}`;
    case "cancelled":
      return `${what} was cancelled.`;
    default:
      return "";
  }
}

/** Everything that a frame is made from, as names and values. */
export function facts(job) {
  const { width, height, steps, seed, n, output_format, image, mask, strength } = job.input;
  const out = [["Size", `${width} × ${height}`]];
  if (n > 1) out.push(["Frames", String(n)]);
  out.push(["Steps", String(steps)]);
  out.push(["Seed", String(seed ?? "…")]);
  if (image) out.push(["From", `${mask ? "a part of a picture" : "a picture"}`]);
  if (image && strength) out.push(["Strength", `${Math.round(strength * 100)} %`]);
  if (output_format && output_format !== "png") out.push(["Format", formatName(output_format)]);
  if (job.priority !== "normal") out.push(["Priority", job.priority]);
  if (tries(job)) out.push(["Tries", tries(job)]);
  return out;
}

/** Why a frame of a batch is missing. */
export const missing = ({ error }) => sentence(error?.message ?? "It could not be made.");

export const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

export const formatName = (format) =>
  ({ png: "PNG", webp: "WebP", jpeg: "JPEG" })[format] ?? format;

export const size = (bytes) =>
  bytes < 1_000_000
    ? `${Math.max(1, Math.round(bytes / 1000))} kB`
    : `${(bytes / 1_000_000).toFixed(1)} MB`;

export const clip = (text, chars) =>
  text.length > chars ? `${text.slice(0, chars - 1).trimEnd()}…` : text;

/** Fragments come from deep inside ("connection refused"); readers get sentences. */
export function sentence(text) {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** Says an error of the gateway to a person. */
export function explain(error) {
  if (!error.status) return UNREACHED;
  const again = error.retryAfterMs ? ` Try again in ${duration(error.retryAfterMs)}.` : "";
  return `${sentence(error.message)}${again}`;
}

/** A moment of today by its time, any other by its day too. */
export function moment(at, now = new Date()) {
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  if (date.toDateString() === now.toDateString()) return time;
  return `${date.toLocaleDateString([], { day: "numeric", month: "short" })}, ${time}`;
}
