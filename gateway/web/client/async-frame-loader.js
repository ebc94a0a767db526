// Loads pictures and decodes them before they are shown, as many at a time as the network bears.
//
// Asked twice for the same address, it loads once. In a page a picture is an ImageBitmap, decoded
// off the main thread; where there is no decoder, the blob. Who takes a picture closes it.
// While nobody answers it tries again, offline as soon as there is a network; an answer that says no
// is final, and so are bytes that are no picture.

import { NetworkPace } from "./network-pace.js";
import { backoff, TIMING } from "./timing.js";
import { pause } from "./wait.js";

export class AsyncFrameLoader {
  #get;
  #pace;
  #timing;
  #running = 0;
  /** @type {(() => void)[]} */
  #waiting = [];
  /** @type {Map<string, Promise<any>>} */
  #loading = new Map();

  /**
   * @param {(url: string) => Promise<Blob>} get as `url => fw.frames.get(url)`
   * @param {{parallel?: number, timing?: Partial<import("./timing.js").Timing>}} [options]
   *   `parallel`: never more than these at a time
   */
  constructor(get, { parallel, timing } = {}) {
    this.#get = get;
    this.#pace = new NetworkPace(parallel);
    this.#timing = { ...TIMING, ...timing };
  }

  /**
   * Loads a picture; rejects if it can't be had or is none.
   * @param {string} url
   * @returns {Promise<any>}
   */
  load(url) {
    let loading = this.#loading.get(url);
    if (!loading) {
      loading = this.#take(url).finally(() => this.#loading.delete(url));
      this.#loading.set(url, loading);
    }
    return loading;
  }

  /** @param {string} url */
  async #take(url) {
    if (this.#running >= this.#pace.limit) {
      await new Promise((go) => this.#waiting.push(() => go(null)));
    } else {
      this.#running++;
    }
    try {
      const blob = await this.#fetch(url);
      return "createImageBitmap" in globalThis ? await createImageBitmap(blob) : blob;
    } finally {
      this.#running--;
      while (this.#waiting.length > 0 && this.#running < this.#pace.limit) {
        this.#running++;
        this.#waiting.shift()?.();
      }
    }
  }

  /** @param {string} url */
  async #fetch(url) {
    const { loadTries, submitMs, submitMsMax } = this.#timing;
    for (let tries = 1; ; tries++) {
      const began = performance.now();
      try {
        const blob = await this.#get(url);
        this.#pace.took(performance.now() - began);
        return blob;
      } catch (error) {
        this.#pace.took(Infinity);
        // What `fetch` throws where nobody answered.
        if (!(error instanceof TypeError) || tries >= loadTries) throw error;
        await pause(backoff(tries, submitMs, submitMsMax));
      }
    }
  }
}
