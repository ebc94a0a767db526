// Submits an order, again and again with the same key, so that a lost answer makes no second job.
//
// While nobody answers, or the gateway says 503 for a moment, it is sent again; offline it waits for
// the network. A refusal, a full queue too, is an answer: whether to wait is not ours to say.

import { Problem } from "./session.js";
import { backoff } from "./timing.js";

/** What stands beside the input in an order; everything else is the input. */
const ASIDE = ["model", "priority", "start_within_s", "metadata", "webhook"];

/** Makes the body of a submit; `{prompt, width}` alone will do. */
export function bodyOf(order, model) {
  if (order.input) return { model, ...order };
  const body = { model, input: {} };
  for (const [name, value] of Object.entries(order)) {
    (ASIDE.includes(name) ? body : body.input)[name] = value;
  }
  return body;
}

/** crypto.randomUUID exists on https and localhost only; a page is often opened by IP address. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Gives the job; throws the `Problem` that refuses it, or the last network error. */
export async function submit(session, body, key, timing, { signal, onWait } = {}) {
  for (let tries = 1; ; tries++) {
    try {
      return await session.call("POST", "/v1/jobs", { body, headers: { "Idempotency-Key": key } });
    } catch (error) {
      const unanswered = !(error instanceof Problem);
      const passing = unanswered || (error.status === 503 && error.code !== "queue_full");
      if (!passing || tries >= timing.submitTries || signal?.aborted) throw error;
      const pause_ms = error.retryAfterMs ?? backoff(tries, timing.submitMs, timing.submitMsMax);
      onWait?.(pause_ms);
      await pause(pause_ms, signal);
    }
  }
}

/** Waits; while the browser knows that it is offline, for the network and no time else. */
function pause(ms, signal) {
  const offline = globalThis.navigator?.onLine === false;
  return new Promise((go) => {
    const done = new AbortController();
    const on = (target, type) => target?.addEventListener(type, end, { signal: done.signal });
    const timer = offline ? 0 : setTimeout(end, ms);
    on(globalThis.window, "online");
    on(signal, "abort");
    function end() {
      clearTimeout(timer);
      done.abort();
      go();
    }
  });
}
