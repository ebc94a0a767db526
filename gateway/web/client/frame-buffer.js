// Keeps a few frames ahead, for a page that must always have the next one at hand.
//
// It makes as many as it lacks, and begins another as soon as one is taken. What fails is made anew
// after a pause that grows, and at once when the network is back; it never gives up. What it hands
// out has a picture in it that was decoded and is not blank. Frames leave in the order in which they
// were begun, but one that is late holds up nobody.

import { AsyncFrameLoader } from "./async-frame-loader.js";
import { isValid } from "./blank.js";
import { backoff, TIMING } from "./timing.js";
import { pause } from "./wait.js";

/** Longest wait for one frame before its order is cancelled, so that it holds no place in the queue. */
const PATIENCE_MS = 60_000;

export class FrameBuffer {
  #make;
  #ahead;
  #isValid;
  #timing;
  /** @type {{n: number, item: any}[]} */
  #ready = [];
  #making = 0;
  #failed = 0;
  #n = 0;
  /** @type {((item: any) => void)[]} */
  #takers = [];
  #ending = new AbortController();

  /**
   * @param {(signal: AbortSignal) => Promise<{picture: any}>} make makes one frame
   * @param {{ahead?: number, isValid?: (picture: any) => boolean,
   *   timing?: Partial<import("./timing.js").Timing>}} [options]
   */
  constructor(make, { ahead = 3, isValid: check = isValid, timing } = {}) {
    this.#make = make;
    this.#ahead = ahead;
    this.#isValid = check;
    this.#timing = { ...TIMING, ...timing };
    this.#fill();
  }

  /**
   * Makes a buffer of a client's frames. `next` gives each order, or the handle of a job under way.
   *
   * @param {import("./framewire.d.ts").Framewire} fw
   * @param {() => any} next
   * @param {{ahead?: number, patienceMs?: number, load?: (url: string) => Promise<any>,
   *   isValid?: (picture: any) => boolean, timing?: Partial<import("./timing.js").Timing>}} options
   *   `load`: as `url => loader.load(url)`
   */
  static of(fw, next, { patienceMs = PATIENCE_MS, load, ...others } = {}) {
    const loader = new AsyncFrameLoader((url) => fw.frames.get(url), others);
    const picture = load ?? ((/** @type {string} */ url) => loader.load(url));
    return new FrameBuffer(async (signal) => {
      const order = await next();
      const job = order.result ? order : await fw.generate(order, { signal });
      const { frame, status, error } = await firstFrame(job, patienceMs, signal);
      if (!frame) throw new Error(error?.message ?? `the job was ${status}`);
      return { picture: await picture(frame.url), frame, order, job };
    }, others);
  }

  /** Frames that can be taken at once. */
  get size() {
    return this.#ready.length;
  }

  /** Frames that failed since the last that did not. */
  get failed() {
    return this.#failed;
  }

  /** Takes the next frame if one is there, else null. */
  take() {
    const item = this.#ready.shift()?.item ?? null;
    this.#fill();
    return item;
  }

  /** Takes the next frame as soon as it is there. */
  next() {
    const item = this.take();
    return item ? Promise.resolve(item) : new Promise((take) => this.#takers.push(take));
  }

  /** Drops all that is there and under way, and begins anew. */
  flush() {
    this.#drop();
    this.#ending = new AbortController();
    this.#failed = 0;
    this.#fill();
  }

  /** Makes no more. Frames under way are cancelled. */
  close() {
    this.#drop();
    this.#ahead = 0;
    this.#takers = [];
  }

  #drop() {
    this.#ending.abort();
    this.#making = 0;
    for (const { item } of this.#ready.splice(0)) item.picture.close?.();
  }

  #fill() {
    while (this.#ready.length + this.#making < this.#ahead) {
      this.#making++;
      void this.#keepMaking(this.#n++, this.#ending.signal);
    }
  }

  /** @param {number} n @param {AbortSignal} signal */
  async #keepMaking(n, signal) {
    while (!signal.aborted) {
      try {
        const item = await this.#make(signal);
        if (signal.aborted) return void item.picture?.close?.();
        if (!this.#isValid(item.picture)) throw new Error("the frame has no picture");
        this.#making--;
        this.#failed = 0;
        return this.#hand(n, item);
      } catch (error) {
        if (signal.aborted) return;
        const { remakeMs, remakeMsMax } = this.#timing;
        const { retryAfterMs } = /** @type {{retryAfterMs?: number}} */ (error);
        await pause(retryAfterMs ?? backoff(this.#failed++, remakeMs, remakeMsMax), signal);
      }
    }
  }

  /** @param {number} n @param {any} item */
  #hand(n, item) {
    const taker = this.#takers.shift();
    if (taker) {
      taker(item);
      return this.#fill();
    }
    const at = this.#ready.findIndex((other) => other.n > n);
    this.#ready.splice(at < 0 ? this.#ready.length : at, 0, { n, item });
  }
}

/**
 * Waits for a job's first frame. Who is tired of waiting, or told to stop, cancels the job.
 *
 * @param {import("./framewire.d.ts").JobHandle} job
 * @param {number} patience_ms
 * @param {AbortSignal} signal
 * @returns {Promise<{frame?: import("./framewire.d.ts").Frame, status: string,
 *   error?: {message: string} | null}>}
 */
function firstFrame(job, patience_ms, signal) {
  return new Promise((resolve, reject) => {
    const giveUp = () => {
      job.cancel().catch(() => {});
      end();
      reject(new Error("the frame did not come in time"));
    };
    const timer = setTimeout(giveUp, patience_ms);
    signal.addEventListener("abort", giveUp);
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
    };
    job.result.then(({ frames, status, error }) => {
      end();
      resolve({ frame: frames[0], status, error });
    });
  });
}
