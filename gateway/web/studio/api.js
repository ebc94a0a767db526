// Speaks HTTP to the gateway: sessions, jobs, and the one rule that a submission is never doubled.
//
// The session is a cookie that scripts can't read, so the way to know whether there is one is to
// ask for something and see a 401. Only a 401 makes a new session: an outage must not lose one.

/** A refusal in the gateway's own words (RFC 9457). */
export class Problem extends Error {
  constructor(status, document, retryAfterMs) {
    super(
      document?.detail ||
        document?.error?.message ||
        document?.title ||
        `The gateway answered ${status}`,
    );
    this.status = status;
    this.code = document?.code ?? null;
    this.fields = document?.errors ?? [];
    this.fallback = document?.fallback ?? null;
    this.retryAfterMs = retryAfterMs;
  }
}

const SUBMIT_TRIES = 7;

async function once(method, path, { body, headers } = {}) {
  const response = await fetch(path, {
    method,
    headers: {
      Accept: "application/json",
      ...(body && { "Content-Type": "application/json" }),
      ...headers,
    },
    body: body && JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
  });
  const document = await response.json().catch(() => null);
  if (response.ok) return document;
  const seconds = Number(response.headers.get("Retry-After"));
  throw new Problem(response.status, document, seconds > 0 ? seconds * 1000 : null);
}

async function call(method, path, options) {
  try {
    return await once(method, path, options);
  } catch (error) {
    if (error.status !== 401) throw error;
    await ensureSession();
    return once(method, path, options);
  }
}

let opening = null;

/** Makes a session if there is none; gives the active jobs and the stream's head either way. */
export function ensureSession() {
  opening ??= alone(async () => {
    try {
      return await once("GET", "/v1/jobs?active=1");
    } catch (error) {
      if (error.status !== 401) throw error;
    }
    await once("POST", "/v1/sessions", { body: {} });
    return once("GET", "/v1/jobs?active=1");
  }).finally(() => (opening = null));
  return opening;
}

/** Two tabs opened together must not each make a session and overwrite the other's cookie. */
const alone = (work) =>
  navigator.locks ? navigator.locks.request("framewire.session", work) : work();

export const listModels = () => once("GET", "/v1/models");
export const activeJobs = () => call("GET", "/v1/jobs?active=1");
export const listJobs = (cursor) =>
  call("GET", `/v1/jobs?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
export const getJob = (id) => call("GET", `/v1/jobs/${encodeURIComponent(id)}`);
export const cancelJob = (id) => call("POST", `/v1/jobs/${encodeURIComponent(id)}/cancel`);
export const retryJob = (id) => call("POST", `/v1/jobs/${encodeURIComponent(id)}/retry`);

/**
 * Submits a job, again and again with the same key while nobody answers or the gateway says 503;
 * `onWait(ms)` hears of every pause. A full queue is an answer: whether to wait is not ours to say.
 */
export async function submitJob(order, key, onWait) {
  for (let tries = 1; ; tries++) {
    try {
      return await call("POST", "/v1/jobs", { body: order, headers: { "Idempotency-Key": key } });
    } catch (error) {
      const unanswered = !(error instanceof Problem);
      const passing = unanswered || (error.status === 503 && error.code !== "queue_full");
      if (!passing || tries >= SUBMIT_TRIES) throw error;
      const pause_ms = error.retryAfterMs ?? backoff(tries);
      onWait(pause_ms);
      await new Promise((resolve) => setTimeout(resolve, pause_ms));
    }
  }
}

/** Full jitter, so that many pages don't come back in step. */
export const backoff = (tries) => 250 + Math.random() * Math.min(30_000, 500 * 2 ** tries);

/** crypto.randomUUID exists on https and localhost only; a studio is often opened by IP address. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Says an error to a person. */
export function explain(error) {
  if (!(error instanceof Problem)) return "The gateway can't be reached. Your prompt is kept.";
  const again = error.retryAfterMs
    ? ` Try again in ${Math.ceil(error.retryAfterMs / 1000)} s.`
    : "";
  return `${error.message.replace(/[.\s]+$/, "")}.${again}`;
}
