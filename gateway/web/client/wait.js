// Waiting, and how long somebody may look at nothing: the hard cap.

/**
 * Gives twice the estimate, at most `ms_max`; `ms_max` where there is no estimate.
 * @param {number | null | undefined} estimated_wait_ms
 * @param {number} ms_max
 */
export const capOf = (estimated_wait_ms, ms_max) =>
  estimated_wait_ms == null ? ms_max : Math.min(2 * estimated_wait_ms, ms_max);

/**
 * A promise, and the way to keep it.
 * @template T
 * @returns {{promise: Promise<T>, resolve: (value: T) => void}}
 */
export function deferred() {
  /** @type {(value: T) => void} */
  let resolve = () => {};
  const promise = new Promise((/** @type {(value: T) => void} */ keep) => (resolve = keep));
  return { promise, resolve };
}

/**
 * Waits; while the browser knows that it is offline, for the network and no time else.
 * @param {number} ms
 * @param {AbortSignal} [signal] ends it early
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  const offline = globalThis.navigator?.onLine === false;
  return new Promise((go) => {
    if (signal?.aborted) return go();
    const done = new AbortController();
    const end = () => {
      clearTimeout(timer);
      done.abort();
      go();
    };
    const timer = offline ? undefined : setTimeout(end, ms);
    globalThis.window?.addEventListener("online", end, { signal: done.signal });
    signal?.addEventListener("abort", end, { signal: done.signal });
  });
}
