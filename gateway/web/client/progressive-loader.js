// So many frames of one order: those that are ready at once, the rest as they come.
//
// Where the gateway can (`POST /v1/frames/next`), one request asks for all that are still missing;
// it hands out what is ready and queues the rest, and asked twice queues nothing twice. Else each is
// an order, a few at a time. Pictures load as many at a time as the network bears. What fails is
// asked for again, until nothing at all has come of it several times, or the order is refused.

import { AsyncFrameLoader } from "./async-frame-loader.js";
import { Problem } from "./session.js";
import { backoff, TIMING } from "./timing.js";
import { pause } from "./wait.js";

/** Frames that one request may ask for. */
const COUNT_MAX = 16;
/** Frames that one request may name as seen; those before them it named before. */
const SEEN_MAX = 64;
/** Orders under way at a time, where each frame is one: a session runs two, and two wait behind. */
const ORDERS_MAX = 4;
/** Rounds without a single frame after which it gives up. */
const ROUNDS_MAX = 4;

export class ProgressiveLoader {
  #fw;
  #load;
  #timing;

  /**
   * @param {import("./framewire.d.ts").Framewire} fw
   * @param {{load?: (url: string) => Promise<any>, timing?: Partial<import("./timing.js").Timing>}}
   *   [options] `load`: as `url => loader.load(url)`
   */
  constructor(fw, { load, timing } = {}) {
    const loader = new AsyncFrameLoader((url) => fw.frames.get(url));
    this.#fw = fw;
    this.#load = load ?? ((url) => loader.load(url));
    this.#timing = { ...TIMING, ...timing };
  }

  /**
   * Gives `count` frames of an order, each `{frame, picture}`, in the order in which they are there.
   * Who leaves the loop early cancels what is under way. Throws when nothing comes any more.
   *
   * @param {number} count
   * @param {import("./framewire.d.ts").Order} order
   */
  async *want(count, order) {
    const run = new Run(count);
    const making = this.#rounds(run, order);
    making.then(
      () => run.end(),
      (error) => run.end(error),
    );
    try {
      for (let next; (next = await run.next()); ) yield next;
    } finally {
      run.leave();
    }
  }

  /** @param {Run} run @param {import("./framewire.d.ts").Order} order */
  async #rounds(run, order) {
    const { remakeMs, remakeMsMax } = this.#timing;
    for (let idle = 0; run.missing > 0; ) {
      const before = run.missing;
      let problem = null;
      try {
        await this.#round(run, order);
      } catch (error) {
        problem = error;
      }
      if (run.missing === 0 || run.left) return;
      idle = run.missing < before ? 0 : idle + 1;
      if (idle >= ROUNDS_MAX || isFinal(problem)) {
        throw problem ?? new Error("no frame came of several orders");
      }
      const { retryAfterMs } = /** @type {{retryAfterMs?: number}} */ (problem ?? {});
      await pause(retryAfterMs ?? backoff(idle, remakeMs, remakeMsMax), run.signal);
    }
  }

  /** @param {Run} run @param {import("./framewire.d.ts").Order} order */
  async #round(run, order) {
    const count = Math.min(run.missing, COUNT_MAX);
    const next = await this.#fw.nextFrames(order, { count, seen: run.seen.slice() });
    if (next) {
      const ready = next.frames.map((frame) => this.#deliver(run, frame));
      const coming = next.jobs.map((job) => this.#follow(run, job));
      return settled([...ready, ...coming]);
    }
    let begun = 0;
    const one = async () => {
      while (begun < count && !run.left) {
        begun++;
        await this.#follow(run, await this.#fw.generate(order, { signal: run.signal }));
      }
    };
    return settled(Array.from({ length: Math.min(count, ORDERS_MAX) }, one));
  }

  /** @param {Run} run @param {import("./framewire.d.ts").JobHandle} job */
  async #follow(run, job) {
    run.follow(job);
    const { frames, error } = await job.result;
    run.forget(job);
    if (frames.length === 0) throw new Error(error?.message ?? `the job was ${job.status}`);
    await settled(frames.map((frame) => this.#deliver(run, frame)));
  }

  /** @param {Run} run @param {import("./framewire.d.ts").Frame} frame */
  async #deliver(run, frame) {
    if (run.has(frame)) return;
    run.give(frame, await this.#load(frame.url));
  }
}

/**
 * Whether the gateway refuses the order itself, so that it need not be sent again.
 * @param {unknown} error
 */
const isFinal = (error) =>
  error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429;

/** Waits for all, and throws the first failure after the last. @param {Promise<any>[]} all */
async function settled(all) {
  for (const end of await Promise.allSettled(all)) {
    if (end.status === "rejected") throw end.reason;
  }
}

/** One call of `want`: what came of it, who waits for it, and what is under way for it. */
class Run {
  /** Frames that are still to come. */
  missing;
  left = false;
  /** Addresses of the newest frames that came. @type {string[]} */
  seen = [];
  #leaving = new AbortController();
  /** @type {{frame: any, picture: any}[]} */
  #ready = [];
  /** @type {Set<import("./framewire.d.ts").JobHandle>} */
  #jobs = new Set();
  /** @type {{error?: unknown} | null} */
  #ended = null;
  #wake = () => {};

  /** @param {number} count */
  constructor(count) {
    this.missing = count;
  }

  get signal() {
    return this.#leaving.signal;
  }

  /** @param {{url: string}} frame */
  has({ url }) {
    return this.seen.includes(url);
  }

  /** @param {{url: string}} frame @param {any} picture */
  give(frame, picture) {
    if (this.left || this.missing === 0 || this.has(frame)) return void picture.close?.();
    if (this.seen.push(frame.url) > SEEN_MAX) this.seen.shift();
    this.missing--;
    this.#ready.push({ frame, picture });
    this.#wake();
  }

  /** @param {unknown} [error] */
  end(error) {
    this.#ended = { error };
    this.#wake();
  }

  /** Gives what came next, or null after the last. */
  async next() {
    while (this.#ready.length === 0 && !this.#ended) {
      await new Promise((wake) => (this.#wake = () => wake(null)));
    }
    const next = this.#ready.shift();
    if (!next && this.#ended?.error) throw this.#ended.error;
    return next ?? null;
  }

  /** @param {import("./framewire.d.ts").JobHandle} job */
  follow(job) {
    if (this.left) void job.cancel().catch(() => {});
    this.#jobs.add(job);
  }

  /** @param {import("./framewire.d.ts").JobHandle} job */
  forget(job) {
    this.#jobs.delete(job);
  }

  leave() {
    this.left = true;
    this.#leaving.abort();
    for (const job of this.#jobs) void job.cancel().catch(() => {});
    for (const { picture } of this.#ready.splice(0)) picture.close?.();
  }
}
