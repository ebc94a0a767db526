// Loads pictures and decodes them before they are shown, a few at a time.
//
// Asked twice for the same address, it loads once. In a page a picture is an ImageBitmap, decoded
// off the main thread; where there is no decoder, the blob.

export class AsyncFrameLoader {
  #get;
  #slots;
  #waiting = [];
  #loading = new Map();

  /**
   * @param {(url: string) => Promise<Blob>} get as `url => fw.frames.get(url)`
   * @param {{parallel?: number}} [options]
   */
  constructor(get, { parallel = 4 } = {}) {
    this.#get = get;
    this.#slots = parallel;
  }

  /** Loads a picture; rejects if it can't be had or is none. */
  load(url) {
    let loading = this.#loading.get(url);
    if (!loading) {
      loading = this.#take(url).finally(() => this.#loading.delete(url));
      this.#loading.set(url, loading);
    }
    return loading;
  }

  async #take(url) {
    if (this.#slots > 0) this.#slots--;
    else await new Promise((go) => this.#waiting.push(go));
    try {
      const blob = await this.#get(url);
      return globalThis.createImageBitmap ? await createImageBitmap(blob) : blob;
    } finally {
      // A slot is handed on, or given back.
      const next = this.#waiting.shift();
      if (next) next();
      else this.#slots++;
    }
  }
}
