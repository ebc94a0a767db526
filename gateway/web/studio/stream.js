// Holds the page's one EventSource and keeps it alive.
//
// Browsers reconnect by themselves only after a network error, and give up for ever on any status
// but 200, so this loop owns every reconnection: it closes on `error`, waits with full jitter, and
// resumes from the last event id. Silence longer than three pings counts as an error.
// It knows nothing of jobs: events go to `onEvent`, a position that couldn't be kept to `onReset`.

const SILENCE_PINGS = 3;
const STEADY_MS = 30_000; // The backoff starts over only after a stream has lived this long.
const FIRST_SYNC_MS = 10_000;

export class Stream {
  #hooks;
  #types;
  #source = null;
  #cursor = null;
  #tries = 0;
  #retry = 0;
  #steady = 0;
  #watchdog = 0;
  #silence_ms = FIRST_SYNC_MS;
  #refused = false;
  #final = false;

  /** `types` are the events to hand on; hooks: prepare, onReset, onEvent, onState. */
  constructor(types, hooks) {
    this.#types = types;
    this.#hooks = hooks;
    addEventListener("online", () => this.reconnect());
    addEventListener("offline", () => this.#lost());
    addEventListener("pageshow", (event) => event.persisted && this.reconnect());
    addEventListener("pagehide", () => this.#close());
  }

  /** Starts from a position, or from now where it is null. */
  start(cursor) {
    this.#cursor = cursor;
    this.#open();
  }

  /** Comes back at once, as after the reader pressed "Reconnect". */
  reconnect() {
    this.#final = false;
    this.#tries = 0;
    this.#close();
    this.#state("reconnecting");
    this.#open();
  }

  async #open() {
    clearTimeout(this.#retry);
    // A stream that ended before its first word may have been a 401: look after the session first.
    if (this.#refused) {
      try {
        await this.#hooks.prepare();
      } catch {
        return this.#lost();
      }
      if (this.#source || this.#final) return;
    }
    this.#refused = true;
    this.#silence_ms = FIRST_SYNC_MS;
    const query = this.#cursor ? `?cursor=${encodeURIComponent(this.#cursor)}` : "";
    const source = new EventSource(`/v1/events${query}`);
    this.#source = source;
    this.#heard();
    const listen = (type, handle) =>
      source.addEventListener(type, (event) => {
        if (source !== this.#source) return;
        this.#heard();
        if (event.lastEventId) this.#cursor = event.lastEventId;
        handle(event.data ? JSON.parse(event.data) : {});
      });
    listen("sync", (data) => this.#synced(data));
    listen("ping", (data) => this.#state(data.live === false ? "delayed" : "live"));
    listen("bye", (data) => this.#bye(data));
    for (const type of this.#types) listen(type, (data) => this.#hooks.onEvent(type, data));
    source.onerror = () => source === this.#source && this.#lost();
  }

  #synced({ mode, at, head, ping_ms }) {
    this.#refused = false;
    this.#silence_ms = SILENCE_PINGS * (ping_ms || 15_000);
    this.#heard();
    this.#steady = setTimeout(() => (this.#tries = 0), STEADY_MS);
    this.#state("live");
    if (mode === "resumed") return;
    this.#cursor = at ?? head ?? null;
    this.#hooks.onReset();
  }

  #bye({ reason, retry_ms, final }) {
    this.#close();
    this.#refused = false;
    if (final) {
      this.#final = true;
      this.#state("ended", reason);
    } else {
      this.#again(retry_ms ?? this.#pause());
    }
  }

  #lost() {
    if (this.#final) return;
    this.#close();
    this.#again(this.#pause());
  }

  #again(pause_ms) {
    this.#state(navigator.onLine ? "reconnecting" : "offline");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), pause_ms);
  }

  #pause() {
    return Math.random() * Math.min(30_000, 1000 * 2 ** this.#tries++);
  }

  #heard() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(), this.#silence_ms);
  }

  #close() {
    clearTimeout(this.#watchdog);
    clearTimeout(this.#steady);
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #state(state, reason) {
    this.#hooks.onState(state, reason);
  }
}
