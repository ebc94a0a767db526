// Keeps frames for when there is no network (Cache API). A frame's address stands for its bytes for
// ever, so what is kept is never asked for again. The oldest go when there are too many; a storage
// that is full costs the keeping and nothing else.

const NAME = "framewire.frames";

export class FrameCache {
  #session;
  #frames_max;

  /** @param {import("./session.js").Session} session */
  constructor(session, framesMax = 200) {
    this.#session = session;
    this.#frames_max = framesMax;
  }

  /** Gives a frame's bytes, from the cache where they are there. @param {string} url */
  async get(url) {
    const cache = await open();
    const kept = await cache?.match(this.#session.href(url));
    return (kept ?? (await this.#fetch(url, cache))).blob();
  }

  /** Keeps a frame; gives whether it is kept. @param {string} url */
  async keep(url) {
    const cache = await open();
    if (!cache) return false;
    const at = this.#session.href(url);
    if (!(await cache.match(at))) await this.#fetch(url, cache);
    return (await cache.match(at)) !== undefined;
  }

  /** Lists the addresses of all that is kept, oldest first. */
  async all() {
    const kept = (await (await open())?.keys()) ?? [];
    return kept.map(({ url }) => url);
  }

  /** @param {string} url @param {Cache | undefined} cache */
  async #fetch(url, cache) {
    const response = await this.#session.fetch(url);
    if (!response.ok) throw new Error(`The frame can't be fetched: ${response.status}`);
    await this.#put(url, response.clone(), cache).catch(() => {});
    return response;
  }

  /** @param {string} url @param {Response} response @param {Cache | undefined} cache */
  async #put(url, response, cache) {
    if (!cache) return;
    await cache.put(this.#session.href(url), response);
    const kept = await cache.keys();
    const surplus = kept.slice(0, Math.max(0, kept.length - this.#frames_max));
    await Promise.all(surplus.map((old) => cache.delete(old)));
  }
}

/** Exists on https and localhost only. */
const open = async () => globalThis.caches?.open(NAME);
