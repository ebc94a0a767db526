// Shows a job on a picture element: what stands in, then previews, then the frame.
//
// A picture takes its place only after it has loaded, and never that of a better one, however late
// the worse one was loaded; one that can't be loaded changes nothing.

/** @typedef {"fallback" | "preview" | "frame"} Kind */

/** @type {Record<Kind, number>} */
const RANK = { fallback: 0, preview: 1, frame: 2 };

export class JobPicture {
  #show;
  #load;
  #rank = -1;
  #asked = 0;
  #shown = 0;

  /**
   * @param {(picture: any, kind: Kind, url: string) => void} show
   * @param {(url: string) => Promise<any>} load as `url => loader.load(url)`
   */
  constructor(show, load) {
    this.#show = show;
    this.#load = load;
  }

  /**
   * Follows a job from what it has to offer now; a job with several frames shows its first.
   * @param {import("./framewire.d.ts").JobHandle} handle
   */
  follow(handle) {
    if (handle.job.fallback) void this.offer("fallback", handle.job.fallback.url);
    handle.on({
      preview: ({ url }) => void this.offer("preview", url),
      frame: ({ url, index }) => void (index === 0 && this.offer("frame", url)),
      fallback: ({ url }) => void (url && this.offer("fallback", url)),
    });
    return this;
  }

  /** Offers a picture; gives whether it was shown. @param {Kind} kind @param {string} url */
  async offer(kind, url) {
    const order = ++this.#asked;
    try {
      const picture = await this.#load(url);
      const rank = RANK[kind];
      if (rank < this.#rank || (rank === this.#rank && order < this.#shown)) return false;
      this.#rank = rank;
      this.#shown = order;
      this.#show(picture, kind, url);
      return true;
    } catch {
      return false;
    }
  }
}
