// An EventSource made of fetch, for where there is none, or where the session is a header.
//
// It reads one answer to its end and then says `error`; it never reconnects, because `Stream` owns
// every reconnection.

/** Longest event that is read; the gateway's are far smaller. */
const EVENT_CHARS_MAX = 1 << 20;

export class FetchEvents extends EventTarget {
  #abort = new AbortController();
  /** @type {((event: Event) => unknown) | null} */
  onerror = null;

  /** @param {(init: RequestInit) => Promise<Response>} open */
  constructor(open) {
    super();
    this.#read(open).then(
      () => this.#end(),
      () => this.#end(),
    );
  }

  close() {
    this.#abort.abort();
  }

  #end() {
    if (!this.#abort.signal.aborted) this.onerror?.(new Event("error"));
  }

  /** @param {(init: RequestInit) => Promise<Response>} open */
  async #read(open) {
    const headers = { Accept: "text/event-stream" };
    const response = await open({ headers, signal: this.#abort.signal, cache: "no-store" });
    if (!response.ok || !response.body) return void response.body?.cancel();
    const text = new TextDecoder();
    let rest = "";
    const chunks = /** @type {AsyncIterable<Uint8Array>} */ (/** @type {any} */ (response.body));
    for await (const chunk of chunks) {
      rest += text.decode(chunk, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      if (rest.length > EVENT_CHARS_MAX) return;
      for (const block of blocks) this.#say(block);
    }
  }

  /** @param {string} block */
  #say(block) {
    /** @type {Record<string, string>} */
    const fields = { event: "message", data: "", id: "" };
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).replace(/^ /, "");
    }
    if (this.#abort.signal.aborted || !fields.data) return;
    this.dispatchEvent(
      new MessageEvent(fields.event, { data: fields.data, lastEventId: fields.id }),
    );
  }
}
