// Holds one EventSource and keeps it alive.
//
// Browsers reconnect by themselves only after a network error, and give up for ever on any status
// but 200, so this loop owns every reconnection: it closes on `error`, waits with full jitter, and
// resumes from the last event id. Silence longer than three pings counts as an error. A stream that
// never gets to its first word is `blocked`, and is tried again now and then: a proxy may hold
// events back for ever, and who listens must know to poll meanwhile.
// It knows nothing of jobs: events go to `onEvent`, a position that couldn't be kept to `onReset`.

import { backoff, jitter } from "./timing.js";

/** Until a stream says it itself. */
export const PING_MS = 15_000;

/** @typedef {import("./framewire.d.ts").EventStream} EventStream */
/** @typedef {"connecting" | "live" | "reconnecting" | "blocked"} StreamState */
/** @typedef {import("./job-change.js").EventType} EventType */

/**
 * Who listens: to events, to a position that was lost, to how the stream is, to its pings.
 * @typedef {{
 *   onEvent: (type: EventType, data: any, cursor: string | null, id?: string | null) => void,
 *   onReset: (cursor: string | null) => void,
 *   onState: (state: StreamState) => void,
 *   onPing?: () => void,
 *   onWire?: (said: import("./framewire.d.ts").Said) => void,
 * }} Hooks
 */

export class Stream {
  #connect;
  #prepare;
  #hooks;
  #timing;
  #types;
  /** @type {EventStream | null} */
  #source = null;
  /** @type {string | null} */
  #cursor = null;
  #tries = 0;
  #unheard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #steady;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watchdog;
  #silence_ms = 0;
  #running = false;
  /** How often this stream says something, as it said itself. */
  ping_ms = PING_MS;
  #listening = new AbortController();

  /**
   * @param {{connect: (path: string) => EventStream, prepare: () => Promise<unknown>,
   *   types: EventType[], timing: import("./timing.js").Timing}} how
   * @param {Hooks} hooks
   */
  constructor({ connect, prepare, types, timing }, hooks) {
    this.#connect = connect;
    this.#prepare = prepare;
    this.#hooks = hooks;
    this.#types = types;
    this.#timing = timing;
    /** @type {(type: string, handle: (event: any) => void) => void} */
    const listen = (type, handle) =>
      globalThis.addEventListener?.(type, handle, { signal: this.#listening.signal });
    listen("online", () => this.reconnect());
    listen("offline", () => this.#lost());
    listen("pageshow", (event) => event.persisted && this.reconnect());
    listen("pagehide", () => this.#close());
  }

  /** Starts from a position, or from now where it is null. @param {string | null} [cursor] */
  start(cursor = null) {
    this.#cursor = cursor;
    this.#running = true;
    this.#hooks.onState("connecting");
    this.#open();
  }

  /** A stream of its own is nobody else's. */
  get leads() {
    return true;
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
        await this.#prepare();
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
    /** @type {(type: string, handle: (data: any, id: string | null) => void) => void} */
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

  /** @param {{mode: string, at?: string, head?: string, ping_ms?: number}} sync */
  #synced({ mode, at, head, ping_ms }) {
    this.#unheard = 0;
    this.ping_ms = ping_ms || PING_MS;
    this.#silence_ms = this.#timing.silencePings * this.ping_ms;
    this.#heard();
    clearTimeout(this.#steady);
    this.#steady = setTimeout(() => (this.#tries = 0), this.#timing.steadyMs);
    this.#hooks.onState("live");
    if (mode === "resumed") return;
    this.#cursor = at ?? head ?? null;
    this.#hooks.onReset(this.#cursor);
  }

  /** @param {{retry_ms?: number}} bye */
  #bye({ retry_ms }) {
    this.#close();
    this.#again(retry_ms ?? this.#pause());
  }

  #lost() {
    this.#close();
    this.#again(this.#pause());
  }

  /** @param {number} pause_ms */
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
