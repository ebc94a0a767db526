// Submits an order, again and again with the same key, so that a lost answer makes no second job.
//
// While nobody answers, or the gateway says 503 for a moment, it is sent again; offline it waits for
// the network. A refusal, a full queue too, is an answer: whether to wait is not ours to say.

import { Problem } from "./session.js";
import { backoff } from "./timing.js";
import { pause } from "./wait.js";

/** @typedef {{model?: string, input: Record<string, unknown>, [aside: string]: unknown}} Body */

/** What stands beside the input in an order; everything else is the input. */
const ASIDE = ["model", "priority", "start_within_s", "metadata", "cache"];

/**
 * Makes the body of a submit; `{prompt, width}` alone will do. Without a model it is the gateway's.
 *
 * @param {import("./framewire.d.ts").Order} order
 * @param {string} [model]
 * @returns {Body}
 */
export function bodyOf(order, model) {
  if (order.input) return /** @type {Body} */ ({ model, ...order });
  /** @type {Body} */
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

/**
 * Sends an order until it is answered, and gives the answer; throws the `Problem` that refuses it, or
 * the last network error. `send` must be one that may arrive twice; `onWait` hears of each pause.
 *
 * @template T
 * @param {() => Promise<T>} send
 * @param {import("./timing.js").Timing} timing
 * @param {AbortSignal} signal
 * @param {(pauseMs: number) => void} [onWait]
 * @returns {Promise<T>}
 */
export async function submit(send, timing, signal, onWait) {
  for (let tries = 1; ; tries++) {
    try {
      return await send();
    } catch (caught) {
      const error = /** @type {Partial<Problem>} */ (caught);
      const unanswered = !(error instanceof Problem);
      const passing = unanswered || (error.status === 503 && error.code !== "queue_full");
      if (!passing || tries >= timing.submitTries || signal.aborted) throw error;
      const pause_ms = error.retryAfterMs ?? backoff(tries, timing.submitMs, timing.submitMsMax);
      onWait?.(pause_ms);
      await pause(pause_ms, signal);
    }
  }
}
