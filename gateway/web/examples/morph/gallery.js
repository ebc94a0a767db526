// Hands out the next picture: a new one, else one that was kept, else the one that ships.
//
// New ones come from the client's FrameBuffer. Of those that were shown some stay here as bytes, and
// more in the browser's cache, which outlives the page. One kept picture is always decoded ahead, so
// that there is something to go on with in the very frame in which it is wanted.

const FALLBACK = "/v1/fallback.webp";
/** Pictures kept as bytes, for pages that have no cache (http by address). */
const BYTES_MAX = 12;

export class Gallery {
  #buffer;
  #frames;
  /** Newest last: {url, caption, blob?}. */
  #kept = [];
  #spare = null;
  #preparing = false;
  #shown = "";

  /** `live`, `waiting`, or `from cache`: where the picture that has its turn is from. */
  state = "waiting";

  constructor(buffer, frames) {
    this.#buffer = buffer;
    this.#frames = frames;
    void this.#remember();
  }

  /** Gives a new picture, or null. */
  fresh() {
    const item = this.#buffer.take();
    if (!item) return null;
    const { picture, frame, job, order } = item;
    const caption = job.job.input?.prompt ?? order.prompt ?? "";
    this.#keep({ url: frame.url, caption });
    this.state = "live";
    this.#shown = frame.url;
    return { picture, caption, isNew: true };
  }

  /** Gives one that was kept, and not the one that is shown; null while none is decoded. */
  kept() {
    const spare = this.#spare;
    if (!spare) {
      void this.#prepare();
      return null;
    }
    this.#spare = null;
    this.#shown = spare.url;
    this.state = spare.url === FALLBACK ? "waiting" : "from cache";
    void this.#prepare();
    return { picture: spare.picture, caption: spare.caption, isNew: false };
  }

  /** Nothing new came for a while. */
  wait() {
    if (this.state === "live") this.state = "waiting";
  }

  /** Somebody wishes for something else: what is decoded ahead was of the old wish. */
  forget() {
    this.state = "waiting";
  }

  async #remember() {
    const urls = await this.#frames.all().catch(() => []);
    // `all` gives absolute addresses, frames have paths.
    const before = urls.map((url) => ({ url: new URL(url).pathname, caption: "from an earlier visit" }));
    this.#kept.unshift(...before.filter(({ url }) => !this.#has(url)));
    await this.#prepare();
  }

  #has(url) {
    return this.#kept.some((kept) => kept.url === url);
  }

  #keep(entry) {
    if (this.#has(entry.url)) return;
    this.#kept.push(entry);
    // From the cache or, without one, over the network once more, while there is one.
    this.#frames.get(entry.url).then(
      (blob) => {
        entry.blob = blob;
        const surplus = this.#kept.filter((kept) => kept.blob).slice(0, -BYTES_MAX);
        for (const old of surplus) old.blob = undefined;
        void this.#prepare();
      },
      () => {},
    );
  }

  /** Decodes the kept picture that was not shown for longest. */
  async #prepare() {
    if (this.#preparing || this.#spare) return;
    this.#preparing = true;
    try {
      while (!this.#spare && this.#kept.length > 0) {
        const at = this.#kept.findIndex(({ url }) => url !== this.#shown);
        if (at < 0) break;
        const [entry] = this.#kept.splice(at, 1);
        const picture = await this.#decode(entry).catch(() => null);
        // One that can't be had any more is forgotten, unless its time may come again.
        if (picture) this.#spare = { ...entry, picture };
        if (picture || navigator.onLine === false) this.#kept.push(entry);
        if (!picture && navigator.onLine === false) break;
      }
      this.#spare ??= await this.#shipped();
    } catch {
      // Asked again at the next turn.
    } finally {
      this.#preparing = false;
    }
  }

  async #decode({ url, blob }) {
    return createImageBitmap(blob ?? (await this.#frames.get(url)));
  }

  async #shipped() {
    if (this.#shown === FALLBACK) return null;
    const picture = await createImageBitmap(await (await fetch(FALLBACK)).blob());
    return { url: FALLBACK, caption: "", picture };
  }
}
