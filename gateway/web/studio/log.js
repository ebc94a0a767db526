// What the stream said, and what became of the connection: the newest entries, in order, with the
// time that passed before each. Knows nothing of the page.

/** Entries that are kept; some minutes of a busy session, and well under a megabyte. */
export const KEPT_MAX = 2000;

/** Kinds that come many times a second, and that say nothing of a job's state. */
const PASSING = new Set(["ping", "progress", "position"]);

export class Log {
  #entries = [];
  #said = 0;
  #last_at = null;
  #listener = () => {};

  /** Calls back after each entry. */
  onChange(listener) {
    this.#listener = listener;
  }

  /** Takes what the stream said; `connection` is our own word for what became of it. */
  add({ type, data, id }, at = Date.now()) {
    const gap_ms = this.#last_at === null ? 0 : at - this.#last_at;
    this.#last_at = at;
    const job = data.job ?? null;
    this.#entries.push({ number: ++this.#said, at, gap_ms, type, id, job, data });
    if (this.#entries.length > KEPT_MAX) this.#entries.splice(0, this.#entries.length - KEPT_MAX);
    this.#listener();
  }

  /** Entries of one job, or of all; without those that only pass, where they are not wanted. */
  entries({ job = "", passing = true } = {}) {
    return this.#entries.filter(
      (entry) => (!job || entry.job === job) && (passing || !PASSING.has(entry.type)),
    );
  }

  /** The jobs that entries are about, newest first. */
  jobs() {
    const ids = this.#entries.map(({ job }) => job).filter(Boolean);
    return [...new Set(ids.reverse())];
  }

  clear() {
    this.#entries = [];
    this.#listener();
  }
}

/** Entries as lines of JSON. */
export const asLines = (entries) =>
  entries
    .map(({ at, gap_ms, type, id, data }) =>
      JSON.stringify({ at: new Date(at).toISOString(), gap_ms, id, event: type, data }),
    )
    .join("\n");

/** An entry in a few words. */
export function summary({ type, data }) {
  switch (type) {
    case "connection":
      return data.state;
    case "sync":
      return [data.mode, data.cause, data.replay ? `${data.replay} to replay` : ""]
        .filter(Boolean)
        .join(", ");
    case "ping":
      return data.live === false ? "behind" : "live";
    case "bye":
      return `${data.reason}, back in ${data.retry_ms} ms`;
    case "queued":
      return [data.reason, data.position != null ? `${data.position} ahead` : ""]
        .filter(Boolean)
        .join(", ");
    case "position":
      return `${data.ahead} ahead`;
    case "started":
      return `attempt ${data.attempt}`;
    case "progress":
      return data.steps ? `step ${data.step} of ${data.steps}` : (data.stage ?? "");
    case "preview":
      return `frame ${data.index + 1}, step ${data.step}`;
    case "frame-ready":
      return `frame ${(data.frame?.index ?? 0) + 1}`;
    case "completed":
      return `${data.frames?.length ?? 0} frames in ${data.timings?.total_ms ?? "?"} ms`;
    case "failed":
      return [data.error?.code, data.error?.message].filter(Boolean).join(": ");
    default:
      return "";
  }
}
