// The hard cap on waiting: how long somebody may look at nothing.

/** Gives twice the estimate, at most `ms_max`; `ms_max` where there is no estimate. */
export const capOf = (estimated_wait_ms, ms_max) =>
  estimated_wait_ms == null ? ms_max : Math.min(2 * estimated_wait_ms, ms_max);

/** A promise, and the way to keep it. */
export function deferred() {
  let resolve;
  const promise = new Promise((keep) => (resolve = keep));
  return { promise, resolve };
}
