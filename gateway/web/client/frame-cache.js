// Keeps frames for when there is no network (Cache API). A frame's address stands for its bytes for
// ever, so what is kept is never asked for again. The oldest go when there are too many.

const NAME = "framewire.frames";

export class FrameCache {
  #session;
  #frames_max;

  constructor(session, framesMax = 200) {
    this.#session = session;
    this.#frames_max = framesMax;
  }

  /** Gives a frame's bytes, from the cache where they are there. */
  async get(url) {
    const cache = await open();
    const kept = await cache?.match(this.#session.href(url));
    return (kept ?? (await this.#fetch(url, cache))).blob();
  }

  /** Keeps a frame; gives whether it is kept. */
  async keep(url) {
    const cache = await open();
    if (!cache) return false;
    if (!(await cache.match(this.#session.href(url)))) await this.#fetch(url, cache);
    return true;
  }

  async #fetch(url, cache) {
    const response = await this.#session.fetch(url);
    if (!response.ok) throw new Error(`The frame can't be fetched: ${response.status}`);
    if (cache) {
      await cache.put(this.#session.href(url), response.clone());
      const kept = await cache.keys();
      const surplus = kept.slice(0, Math.max(0, kept.length - this.#frames_max));
      await Promise.all(surplus.map((old) => cache.delete(old)));
    }
    return response;
  }
}

/** Exists on https and localhost only. */
const open = async () => globalThis.caches?.open(NAME);
