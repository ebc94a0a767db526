// Lets the tabs of one session share one stream.
//
// Whoever holds the lock is the leader: it has the stream and posts what it hears. The others keep
// the position of what was posted, so that the next leader, to whom the browser gives the lock when
// the tab closes, goes on exactly there. A leader that posts nothing for long is wedged; a visible
// follower takes its lock. Same face and hooks as `Stream`; without Web Locks or BroadcastChannel a
// tab has a stream of its own.

export const canShare = () =>
  Boolean(globalThis.navigator?.locks && globalThis.BroadcastChannel && globalThis.document);

export class SharedStream {
  #name;
  #make;
  #hooks;
  #leader_ms;
  #channel = null;
  #stream = null;
  #resign = null;
  #standing = null;
  #cursor = null;
  #state = "connecting";
  #watchdog = 0;
  #met = false;
  #listening = new AbortController();

  /**
   * @param {string} name of the lock and the channel
   * @param {(hooks: object) => import("./stream.js").Stream} make
   */
  constructor(name, make, hooks, timing) {
    this.#name = name;
    this.#make = make;
    this.#hooks = hooks;
    this.#leader_ms = timing.leaderMs;
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
    this.#channel.postMessage({ ask: true });
    this.#watch();
    this.#stand();
  }

  stop() {
    this.#listening.abort();
    this.#leave();
  }

  /** Has whoever leads come back at once. */
  reconnect() {
    if (this.leads) this.#stream.reconnect();
    else this.#channel?.postMessage({ hurry: true });
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
        this.#channel.postMessage({ type, data, cursor, id });
        onEvent(type, data);
      },
      onReset: (cursor) => {
        this.#channel.postMessage({ reset: true, cursor });
        onReset();
      },
      onState: (state) => {
        this.#state = state;
        this.#channel.postMessage({ state });
        onState(state);
      },
      onWire: (said) => {
        // Events are posted anyway; what is said of the stream itself is not.
        if (["sync", "ping", "bye"].includes(said.type)) this.#channel.postMessage({ said });
        onWire?.(said);
      },
      onPing: () => this.#channel.postMessage({ state: this.#state }),
    });
    this.#stream.start(this.#cursor);
    return new Promise((resign) => (this.#resign = resign));
  }

  #told({ ask, hurry, said, type, data, cursor, id, reset, state }) {
    if (hurry) return void this.#stream?.reconnect();
    if (ask) return void (this.leads && this.#channel.postMessage({ state: this.#state }));
    // A leader that has just lost its lock may still be heard; what it says is true all the same.
    if (this.leads) return;
    this.#watch();
    if (cursor) this.#cursor = cursor;
    if (said || type) this.#hooks.onWire?.(said ?? { type, data, id });
    if (type) this.#hooks.onEvent(type, data);
    // Whatever the leader heard before we listened is made good by a look.
    if (reset || !this.#met) this.#hooks.onReset();
    this.#met = true;
    if (state) this.#hooks.onState(state);
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      if (document.visibilityState !== "visible") return this.#watch();
      this.#standing.abort();
      this.#stand(true);
    }, this.#leader_ms);
  }

  #retire() {
    this.#stream?.stop();
    this.#stream = null;
    this.#resign?.();
    this.#resign = null;
  }

  #leave() {
    clearTimeout(this.#watchdog);
    this.#standing?.abort();
    this.#retire();
    this.#channel?.close();
    this.#channel = null;
  }

  /** Whatever was posted while the page lay in the browser's cache was missed. */
  #returned() {
    this.start();
    this.#hooks.onReset();
  }
}
