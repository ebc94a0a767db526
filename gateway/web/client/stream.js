// Holds one EventSource and keeps it alive.
//
// Browsers reconnect by themselves only after a network error, and give up for ever on any status
// but 200, so this loop owns every reconnection: it closes on `error`, waits with full jitter, and
// resumes from the last event id. Silence longer than three pings counts as an error. A stream that
// never gets to its first word is `blocked`, and is tried again now and then: a proxy may hold
// events back for ever, and who listens must know to poll meanwhile.
// It knows nothing of jobs: events go to `onEvent`, a position that couldn't be kept to `onReset`.

import { backoff, jitter } from "./timing.js";

export class Stream {
  #connect;
  #hooks;
  #timing;
  #types;
  #source = null;
  #cursor = null;
  #tries = 0;
  #unheard = 0;
  #retry = 0;
  #steady = 0;
  #watchdog = 0;
  #silence_ms = 0;
  #running = false;
  #listening = new AbortController();

  /**
   * @param {{connect: (path: string) => EventSource, prepare: () => Promise<unknown>,
   *   types: string[], timing: typeof import("./timing.js").TIMING}} how
   * @param {{onEvent: Function, onReset: Function, onState: Function, onPing?: Function,
   *   onWire?: Function}} hooks
   */
  constructor({ connect, prepare, types, timing }, hooks) {
    this.#connect = connect;
    this.#hooks = { prepare, ...hooks };
    this.#types = types;
    this.#timing = timing;
    const listen = (type, handle) =>
      globalThis.addEventListener?.(type, handle, { signal: this.#listening.signal });
    listen("online", () => this.reconnect());
    listen("offline", () => this.#lost());
    listen("pageshow", (event) => event.persisted && this.reconnect());
    listen("pagehide", () => this.#close());
  }

  /** Starts from a position, or from now where it is null. */
  start(cursor = null) {
    this.#cursor = cursor;
    this.#running = true;
    this.#hooks.onState("connecting");
    this.#open();
  }

  stop() {
    this.#running = false;
    this.#listening.abort();
    this.#close();
  }

  /** Comes back at once, whatever the pause. */
  reconnect() {
    if (!this.#running) return;
    this.#tries = 0;
    this.#close();
    this.#open();
  }

  async #open() {
    if (this.#source || !this.#running) return;
    // A stream that ended before its first word may have been a 401: look after the session first.
    if (this.#unheard > 0 || this.#cursor === null) {
      try {
        await this.#hooks.prepare();
      } catch {
        if (!this.#source) this.#lost();
        return;
      }
      if (this.#source || !this.#running) return;
    }
    this.#unheard++;
    this.#silence_ms = this.#timing.firstSyncMs;
    const query = this.#cursor ? `?cursor=${encodeURIComponent(this.#cursor)}` : "";
    const source = this.#connect(`/v1/events${query}`);
    this.#source = source;
    this.#heard();
    const listen = (type, handle) =>
      source.addEventListener(type, (event) => {
        if (source !== this.#source) return;
        this.#heard();
        // An event without an id repeats the last one's.
        const id = event.lastEventId && event.lastEventId !== this.#cursor && event.lastEventId;
        if (id) this.#cursor = id;
        const data = event.data ? JSON.parse(event.data) : {};
        this.#hooks.onWire?.({ type, data, id: id || null });
        handle(data, id || null);
      });
    listen("sync", (data) => this.#synced(data));
    listen("ping", () => this.#hooks.onPing?.());
    listen("bye", (data) => this.#bye(data));
    for (const type of this.#types) {
      listen(type, (data, id) => this.#hooks.onEvent(type, data, this.#cursor, id));
    }
    source.onerror = () => source === this.#source && this.#lost();
  }

  #synced({ mode, at, head, ping_ms }) {
    this.#unheard = 0;
    this.#silence_ms = this.#timing.silencePings * (ping_ms || 15_000);
    this.#heard();
    clearTimeout(this.#steady);
    this.#steady = setTimeout(() => (this.#tries = 0), this.#timing.steadyMs);
    this.#hooks.onState("live");
    if (mode === "resumed") return;
    this.#cursor = at ?? head ?? null;
    this.#hooks.onReset(this.#cursor);
  }

  #bye({ retry_ms }) {
    this.#close();
    this.#again(retry_ms ?? this.#pause());
  }

  #lost() {
    this.#close();
    this.#again(this.#pause());
  }

  #again(pause_ms) {
    if (!this.#running) return;
    this.#hooks.onState(this.#blocked ? "blocked" : "reconnecting");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), pause_ms);
  }

  get #blocked() {
    return this.#unheard >= this.#timing.blockedTries;
  }

  #pause() {
    const { reconnectMs, reconnectMsMax, blockedAgainMs } = this.#timing;
    if (this.#blocked) return blockedAgainMs / 2 + jitter(blockedAgainMs / 2);
    return backoff(this.#tries++, reconnectMs, reconnectMsMax);
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
}
