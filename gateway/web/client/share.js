// Lets the tabs of one session share one stream.
//
// Whoever holds the lock is the leader: it has the stream and posts what it hears. The others keep
// the position of what was posted, so that the next leader, to whom the browser gives the lock when
// the tab closes, goes on exactly there. Pings are posted, too: of a leader that posts nothing for
// longer the others don't know what they miss, and poll; after long it is wedged, and a visible
// follower takes its lock. Same face and hooks as `Stream`; without Web Locks or BroadcastChannel a
// tab has a stream of its own.

import { PING_MS } from "./stream.js";

export const canShare = () =>
  Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel && globalThis.document);

/** @typedef {import("./stream.js").Hooks} Hooks */
/**
 * What a tab tells the others.
 * @typedef {{ask?: true, type?: import("./job-change.js").EventType, data?: any, cursor?: string | null,
 *   reset?: true, state?: import("./stream.js").StreamState, ping_ms?: number, hurry?: true,
 *   id?: string | null, said?: import("./framewire.d.ts").Said}} Word
 */

export class SharedStream {
  #name;
  #make;
  #hooks;
  #timing;
  /** How often the leader's stream says something. */
  #ping_ms = PING_MS;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {import("./stream.js").Stream | null} */
  #stream = null;
  /** @type {(() => void) | null} */
  #resign = null;
  #standing = new AbortController();
  /** @type {string | null} */
  #cursor = null;
  /** @type {import("./stream.js").StreamState} */
  #state = "connecting";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #watchdog;
  /** Whether a leader was heard. */
  #met = false;
  #listening = new AbortController();

  /**
   * @param {string} name of the lock and the channel
   * @param {(hooks: Hooks) => import("./stream.js").Stream} make
   * @param {Hooks} hooks
   * @param {import("./timing.js").Timing} timing
   */
  constructor(name, make, hooks, timing) {
    this.#name = name;
    this.#make = make;
    this.#hooks = hooks;
    this.#timing = timing;
    const { signal } = this.#listening;
    addEventListener("pagehide", () => this.#leave(), { signal });
    addEventListener("pageshow", (event) => event.persisted && this.#returned(), { signal });
  }

  get leads() {
    return this.#stream !== null;
  }

  start() {
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => this.#told(data);
    this.#tell({ ask: true });
    this.#watch();
    this.#stand();
  }

  stop() {
    this.#listening.abort();
    this.#leave();
  }

  /** Has whoever leads come back at once. */
  reconnect() {
    if (this.#stream) this.#stream.reconnect();
    else this.#tell({ hurry: true });
  }

  #stand(steal = false) {
    const standing = new AbortController();
    this.#standing = standing;
    const how = steal ? { steal } : { signal: standing.signal };
    navigator.locks
      .request(this.#name, how, () => !standing.signal.aborted && this.#lead())
      .catch(() => {
        // Either it left before its turn, or another tab took the lock.
        if (standing.signal.aborted) return;
        this.#retire();
        this.#watch();
        this.#stand();
      });
  }

  #lead() {
    clearTimeout(this.#watchdog);
    const { onEvent, onReset, onState, onWire } = this.#hooks;
    this.#stream = this.#make({
      onEvent: (type, data, cursor, id) => {
        this.#tell({ type, data, cursor, id });
        onEvent(type, data, cursor);
      },
      onReset: (cursor) => {
        this.#tell({ reset: true, cursor });
        onReset(cursor);
      },
      onState: (state) => {
        this.#state = state;
        this.#tell(this.#news);
        onState(state);
      },
      onWire: (said) => {
        // Events are posted anyway; what is said of the stream itself is not.
        if (["sync", "ping", "bye"].includes(said.type)) this.#tell({ said });
        onWire?.(said);
      },
      onPing: () => this.#tell(this.#news),
    });
    this.#stream.start(this.#cursor);
    return new Promise((resign) => (this.#resign = () => resign(null)));
  }

  /** How the stream is. @returns {Word} */
  get #news() {
    return { state: this.#state, ping_ms: this.#stream?.ping_ms };
  }

  /** @param {Word} word */
  #tell(word) {
    this.#channel?.postMessage(word);
  }

  /** @param {Word} word */
  #told({ ask, hurry, said, type, data, cursor, id = null, reset, state, ping_ms }) {
    if (hurry) return void this.#stream?.reconnect();
    if (ask) return void (this.leads && this.#tell(this.#news));
    // A leader that has just lost its lock may still be heard; what it says is true all the same.
    if (this.leads) return;
    if (ping_ms) this.#ping_ms = ping_ms;
    this.#watch();
    if (cursor) this.#cursor = cursor;
    if (said) this.#hooks.onWire?.(said);
    if (type) {
      this.#hooks.onWire?.({ type, data, id });
      this.#hooks.onEvent(type, data, this.#cursor);
    }
    // Whatever the leader heard before we listened is made good by a look.
    if (reset || !this.#met) this.#hooks.onReset(this.#cursor);
    this.#met = true;
    if (state) this.#hooks.onState(state);
  }

  #watch() {
    clearTimeout(this.#watchdog);
    const quiet_ms = this.#timing.quietPings * this.#ping_ms;
    this.#watchdog = setTimeout(() => this.#unheard(), quiet_ms);
  }

  /** Nothing was heard of the leader: until its lock may be taken, the jobs are polled. */
  #unheard() {
    this.#hooks.onState("blocked");
    const take = () => {
      if (document.visibilityState !== "visible") return this.#unheard();
      this.#standing.abort();
      this.#stand(true);
    };
    const { quietPings, leaderPings } = this.#timing;
    this.#watchdog = setTimeout(take, (leaderPings - quietPings) * this.#ping_ms);
  }

  #retire() {
    this.#stream?.stop();
    this.#stream = null;
    this.#resign?.();
    this.#resign = null;
  }

  #leave() {
    clearTimeout(this.#watchdog);
    this.#standing.abort();
    this.#retire();
    this.#channel?.close();
    this.#channel = null;
  }

  /** Whatever was posted while the page lay in the browser's cache was missed. */
  #returned() {
    this.start();
    this.#hooks.onReset(this.#cursor);
  }
}
