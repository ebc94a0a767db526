// Framewire's client: order a picture, watch it develop, never lose one.
//
//   import { Framewire } from "/client/framewire.js";
//   const fw = new Framewire();
//   const job = await fw.generate({ prompt: "a red fox in snow" });
//   job.on({ progress: (p) => (bar.value = p.fraction), preview: (p) => (img.src = p.url) });
//   img.src = (await job.result).picture;
//
// The face of the parts, in the order in which an order meets them: `session` (HTTP), `remember`
// (what a reload must not lose), `submit`, `jobs` (the dispatch map), `job` (one handle), `stream`
// and `share` (one EventSource for all tabs), `poll` (where it can't be held), `frame-cache`.
// A page needs one `Framewire`. It speaks to the gateway that serves the page; programs, which are
// not bound to an origin, give `url`.

import { FetchEvents } from "./fetch-events.js";
import { FrameCache } from "./frame-cache.js";
import { EVENT_TYPES, JobHandle } from "./job.js";
import { Jobs } from "./jobs.js";
import { Poller } from "./poll.js";
import { Memory, pageStorage } from "./remember.js";
import { Session } from "./session.js";
import { canShare, SharedStream } from "./share.js";
import { Stream } from "./stream.js";
import { bodyOf, newKey, submit } from "./submit.js";
import { TIMING } from "./timing.js";

export { AsyncFrameLoader } from "./async-frame-loader.js";
export { FrameBuffer } from "./frame-buffer.js";
export { ProgressiveLoader } from "./progressive-loader.js";
export { Problem } from "./session.js";

export class Framewire {
  #session;
  #memory;
  #jobs;
  #stream;
  #poller;
  #options;
  #timing;
  #keys = new Map();
  #onJob = null;
  #started = false;
  #closing = new AbortController();
  #state = "idle";

  /** @param {import("./framewire.d.ts").Options} [options] */
  constructor(options = {}) {
    const { url = globalThis.location?.href, token, timing } = options;
    if (!url) throw new TypeError("url is missing: where the gateway is");
    this.#options = options;
    this.#timing = { ...TIMING, ...timing };
    const fetch = options.fetch ?? ((...args) => globalThis.fetch(...args));
    this.#session = new Session({ url, token, fetch });
    this.#memory = new Memory(options.storage ?? pageStorage());
    this.#jobs = new Jobs(
      (...args) => this.#session.call(...args),
      () => this.#poller.once(),
    );
    this.#poller = new Poller(
      () => this.#jobs.refreshAll(),
      () => this.#jobs.size > 0 || this.#jobs.found !== null,
      this.#timing,
    );
    this.#stream = this.#makeStream();
    /** Frames for when there is no network. */
    this.frames = new FrameCache(this.#session, options.framesMax);
  }

  /** Jobs in flight, which is the number of handlers that are held. */
  get inFlight() {
    return this.#jobs.size;
  }

  /** `idle`, `connecting`, `live`, `reconnecting`, or `polling` while the stream can't be held. */
  get state() {
    return this.#state;
  }

  /** Whether this tab has the stream. */
  get leads() {
    return this.#started && this.#stream.leads !== false;
  }

  /** Makes an address that the gateway gave absolute. */
  href(path) {
    return this.#session.href(path);
  }

  /**
   * Orders frames: `{prompt, width, height, steps, …}` or a whole request with `model` and `input`.
   *
   * Rejects with the `Problem` that refuses the order, whose `fallback` can be shown, or with a
   * network error after many tries; from then on every end is an outcome.
   */
  generate(order, { idempotencyKey: key = newKey(), ...how } = {}) {
    const body = bodyOf(order, this.#options.model ?? "builtin");
    return this.#order({ key, body }, how);
  }

  /** Calls the API as this session; gives the document, or rejects with a `Problem`. */
  call(method, path, options) {
    return this.#session.call(method, path, options);
  }

  /** Follows every job of the session, whoever orders it: `onJob` gets each handle, once held. */
  follow(onJob) {
    this.#onJob = onJob;
    this.#jobs.found = (job) =>
      "v" in job ? void this.#hold(job, null) : void this.watch(job.id).catch(() => {});
    this.#start();
  }

  /** Comes back to the stream at once, without the rest of a pause. */
  reconnect() {
    if (this.#started) this.#stream.reconnect();
  }

  /** Goes on with what was in flight when the page was left; gives the handles, oldest first. */
  async resume() {
    const orders = this.#memory.all();
    const resumed = orders.map((order) =>
      order.id ? this.#find(order) : this.#order(order).catch(() => null),
    );
    return (await Promise.all(resumed)).filter(Boolean);
  }

  /** Follows a job by its id. One that the gateway does not know has failed. */
  async watch(id) {
    return this.#jobs.get(id) ?? (await this.#find({ id }));
  }

  /** Ends stream, polling and waiting; jobs go on without us. */
  close() {
    this.#closing.abort();
    this.#stream.stop();
    this.#poller.stop();
    this.#jobs.close();
    this.#state = "idle";
  }

  async #order({ key, body }, { capMs, signal, onWait } = {}) {
    this.#memory.put(key, { body });
    try {
      this.#start();
      const gaveUp = AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]);
      const waiting = { signal: gaveUp, onWait };
      const send = () => submit(this.#session, body, key, this.#timing, waiting);
      return await this.#jobs.during(send, (job) => {
        this.#memory.put(key, { body, id: job.id });
        return this.#hold(job, key, capMs);
      });
    } catch (error) {
      // Whoever left midway finds the order when they come back.
      if (!this.#closing.signal.aborted) this.#memory.drop(key);
      throw error;
    }
  }

  async #find({ key, id }) {
    this.#start();
    const handle = this.#jobs.get(id) ?? this.#hold({ id, v: -1, status: "queued" }, key);
    await this.#jobs.refresh(handle).catch(() => this.#poller.once());
    return handle;
  }

  #hold(job, key, capMs = this.#options.capMs) {
    const known = this.#jobs.get(job.id);
    if (known) {
      if (key) this.#keys.set(job.id, key);
      known.take(job);
      return known;
    }
    const path = `/v1/jobs/${encodeURIComponent(job.id)}`;
    const ask = async (handle, verb) => {
      // Held before it is asked, so that an event that overtakes the answer is not missed.
      this.#jobs.add(handle);
      try {
        handle.take(await this.#session.call("POST", `${path}/${verb}`));
      } finally {
        this.#keep(handle);
      }
      return handle;
    };
    if (key) this.#keys.set(job.id, key);
    const actions = {
      cancel: (handle) => ask(handle, "cancel"),
      retry: (handle) => ask(handle, "retry"),
      settled: (handle) => this.#settled(handle),
    };
    const handle = new JobHandle(job, actions, { capMs, capMsMax: this.#timing.capMsMax });
    if (this.#options.cacheFrames) {
      handle.on({ frame: ({ url }) => void this.frames.keep(url).catch(() => {}) });
    }
    this.#keep(handle);
    this.#onJob?.(handle);
    return handle;
  }

  #keep(handle) {
    if (handle.settled) return this.#jobs.remove(handle);
    if (this.#closing.signal.aborted) return handle.close();
    this.#jobs.add(handle);
    // Who follows all jobs finds them again without being reminded.
    if (!this.#keys.has(handle.id) && !this.#onJob) {
      const key = newKey();
      this.#keys.set(handle.id, key);
      this.#memory.put(key, { id: handle.id });
    }
    this.#poller.arm();
  }

  #settled(handle) {
    this.#jobs.remove(handle);
    const key = this.#keys.get(handle.id);
    this.#keys.delete(handle.id);
    if (key) this.#memory.drop(key);
  }

  #start() {
    if (this.#started) return;
    this.#started = true;
    this.#stream.start();
  }

  #makeStream() {
    const hooks = {
      onEvent: (type, data) => this.#jobs.dispatch(type, data),
      onReset: () => {
        this.#poller.once();
        this.#options.onReset?.();
      },
      onWire: (said) => this.#options.onWire?.(said),
      onState: (state) => this.#connected(state),
    };
    const how = {
      connect: (path) => this.#connect(path),
      prepare: () => this.#session.ensure(),
      types: EVENT_TYPES,
      timing: this.#timing,
    };
    const shares = this.#options.share ?? true;
    if (!shares || !this.#session.isCookie || !canShare()) return new Stream(how, hooks);
    const make = (leading) => new Stream(how, leading);
    return new SharedStream("framewire.stream", make, hooks, this.#timing);
  }

  #connect(path) {
    const { EventSource } = this.#options;
    if (EventSource) return new EventSource(this.href(path));
    if (this.#session.isCookie && globalThis.EventSource) {
      return new globalThis.EventSource(this.href(path));
    }
    return new FetchEvents((init) => this.#session.fetch(path, init));
  }

  #connected(state) {
    this.#poller.polling = state === "blocked";
    this.#state = state === "blocked" ? "polling" : state;
    this.#options.onState?.(this.#state);
  }
}
