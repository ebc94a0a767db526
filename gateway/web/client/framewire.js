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
import { EVENT_TYPES } from "./job-change.js";
import { JobHandle } from "./job.js";
import { Jobs } from "./jobs.js";
import { Poller } from "./poll.js";
import { Memory, pageStorage } from "./remember.js";
import { Problem, Session } from "./session.js";
import { canShare, SharedStream } from "./share.js";
import { Stream } from "./stream.js";
import { bodyOf, newKey, submit } from "./submit.js";
import { TIMING } from "./timing.js";

export { AsyncFrameLoader } from "./async-frame-loader.js";
export { FrameBuffer } from "./frame-buffer.js";
export { JobPicture } from "./job-picture.js";
export { ProgressiveLoader } from "./progressive-loader.js";
export { Problem } from "./session.js";

/** @typedef {import("./framewire.d.ts").Order} Order */
/** @typedef {import("./framewire.d.ts").Job} Job */

/** Whether a picture to start from is in the order itself. @param {unknown} picture */
const isData = (picture) => /^data:/i.test(String(picture));

export class Framewire {
  #session;
  #memory;
  #jobs;
  #stream;
  #poller;
  #options;
  #timing;
  /** By job, the key under which it is remembered. @type {Map<string, string>} */
  #keys = new Map();
  /** @type {((handle: JobHandle) => void) | null} */
  #onJob = null;
  #started = false;
  /** Whether the gateway has `POST /v1/frames/next`, as far as is known. */
  #givesNext = true;
  #closing = new AbortController();
  /** @type {import("./framewire.d.ts").State} */
  #state = "idle";

  /** @param {import("./framewire.d.ts").Options} [options] */
  constructor(options = {}) {
    const { url = globalThis.location?.href, token, timing } = options;
    if (!url) throw new TypeError("url is missing: where the gateway is");
    this.#options = options;
    this.#timing = { ...TIMING, ...timing };
    /** @type {typeof globalThis.fetch} */
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
    return this.#started && this.#stream.leads;
  }

  /** Makes an address that the gateway gave absolute. @param {string} path */
  href(path) {
    return this.#session.href(path);
  }

  /**
   * Orders frames: `{prompt, width, height, steps, …}` or a whole request with `model` and `input`.
   *
   * Rejects with the `Problem` that refuses the order, whose `fallback` can be shown, or with a
   * network error after many tries; from then on every end is an outcome.
   *
   * @param {Order} order
   * @param {{idempotencyKey?: string, capMs?: number, signal?: AbortSignal,
   *   onWait?: (pauseMs: number) => void}} [how]
   */
  generate(order, { idempotencyKey: key = newKey(), ...how } = {}) {
    const body = bodyOf(order, this.#options.model);
    return this.#order({ key, body }, how);
  }

  /**
   * Calls the API as this session; gives the document, or rejects with a `Problem`.
   *
   * @param {string} method
   * @param {string} path
   * @param {{body?: object, headers?: Record<string, string>}} [options]
   */
  call(method, path, options) {
    return this.#session.call(method, path, options);
  }

  /**
   * Follows every job of the session, whoever orders it: `onJob` gets each handle, once held.
   *
   * @param {(handle: JobHandle) => void} onJob
   */
  follow(onJob) {
    this.#onJob = onJob;
    this.#jobs.found = (job) =>
      "v" in job ? void this.#hold(job) : void this.watch(job.id).catch(() => {});
    this.#start();
  }

  /** Comes back to the stream at once, without the rest of a pause. */
  reconnect() {
    if (this.#started) this.#stream.reconnect();
  }

  /**
   * Asks for frames of an order, wherever they come from: those that are ready and were not `seen`,
   * and the handles of the rest; null where the gateway has no `POST /v1/frames/next`, and for an
   * order with a data URL, which is refused there.
   *
   * @param {Order} order
   * @param {{count?: number, seen?: string[], signal?: AbortSignal}} [how]
   */
  async nextFrames(order, { count, seen = [], signal } = {}) {
    if (!this.#givesNext) return null;
    const { model, input, priority } = bodyOf(order, this.#options.model);
    const { n, ...rest } = input;
    if ([rest.image, rest.mask].some(isData)) return null;
    const body = { model, priority, input: rest, count: count ?? n ?? 1, seen };
    this.#start();
    try {
      const send = () => this.#session.call("POST", "/v1/frames/next", { body });
      const ask = () => submit(send, this.#timing, this.#untilClosed(signal));
      const hold = (/** @type {{jobs: Job[]}} */ { jobs }) => jobs.map((job) => this.#hold(job));
      const { answer, handles } = await this.#jobs.during(ask, hold);
      return { frames: answer.frames, jobs: handles, fallback: answer.fallback ?? null };
    } catch (error) {
      this.#givesNext = !(error instanceof Problem && [404, 405].includes(error.status));
      if (this.#givesNext) throw error;
      return null;
    }
  }

  /** Goes on with what was in flight when the page was left; gives the handles, oldest first. */
  async resume() {
    const orders = this.#memory.all();
    const resumed = orders.map(({ key, id, body }) =>
      id ? this.#find(id, key) : this.#order({ key, body }).catch(() => null),
    );
    return (await Promise.all(resumed)).filter((handle) => handle !== null);
  }

  /** Follows a job by its id. One that the gateway does not know has failed. @param {string} id */
  async watch(id) {
    return this.#jobs.get(id) ?? (await this.#find(id));
  }

  /** Ends stream, polling and waiting; jobs go on without us. */
  close() {
    this.#closing.abort();
    this.#stream.stop();
    this.#poller.stop();
    this.#jobs.close();
    this.#state = "idle";
  }

  /**
   * @param {{key: string, body: import("./submit.js").Body}} order
   * @param {{capMs?: number, signal?: AbortSignal, onWait?: (pauseMs: number) => void}} [how]
   */
  async #order({ key, body }, { capMs, signal, onWait } = {}) {
    this.#memory.put(key, { body });
    try {
      this.#start();
      const headers = { "Idempotency-Key": key };
      const send = () => this.#session.call("POST", "/v1/jobs", { body, headers });
      const ask = () => submit(send, this.#timing, this.#untilClosed(signal), onWait);
      const hold = (/** @type {Job} */ job) => {
        this.#memory.put(key, { body, id: job.id });
        return this.#hold(job, key, capMs);
      };
      const { handles } = await this.#jobs.during(ask, (job) => [hold(job)]);
      return /** @type {JobHandle} */ (handles[0]);
    } catch (error) {
      // Whoever left midway finds the order when they come back.
      if (!this.#closing.signal.aborted) this.#memory.drop(key);
      throw error;
    }
  }

  /** @param {AbortSignal} [signal] */
  #untilClosed(signal) {
    return signal ? AbortSignal.any([this.#closing.signal, signal]) : this.#closing.signal;
  }

  /** @param {string} id @param {string} [key] */
  async #find(id, key) {
    this.#start();
    const handle = this.#jobs.get(id) ?? this.#hold({ id, v: -1, status: "queued" }, key);
    await this.#jobs.refresh(handle).catch(() => this.#poller.once());
    return handle;
  }

  /** @param {Partial<Job> & {id: string}} job @param {string} [key] @param {number} [capMs] */
  #hold(job, key, capMs = this.#options.capMs) {
    const known = this.#jobs.get(job.id);
    if (known) {
      if (key) this.#keys.set(job.id, key);
      known.take(/** @type {Job} */ (job));
      return known;
    }
    const path = `/v1/jobs/${encodeURIComponent(job.id)}`;
    const ask = async (/** @type {JobHandle} */ handle, /** @type {string} */ verb) => {
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
    /** @type {ConstructorParameters<typeof JobHandle>[1]} */
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

  /** @param {JobHandle} handle */
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

  /** @param {JobHandle} handle */
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
    /** @type {import("./stream.js").Hooks} */
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
      connect: (/** @type {string} */ path) => this.#connect(path),
      prepare: () => this.#session.ensure(),
      types: EVENT_TYPES,
      timing: this.#timing,
    };
    const shares = this.#options.share ?? true;
    if (!shares || !this.#session.isCookie || !canShare()) return new Stream(how, hooks);
    const make = (/** @type {import("./stream.js").Hooks} */ leading) => new Stream(how, leading);
    return new SharedStream("framewire.stream", make, hooks, this.#timing);
  }

  /**
   * @param {string} path
   * @returns {import("./framewire.d.ts").EventStream}
   */
  #connect(path) {
    const { EventSource } = this.#options;
    if (EventSource) return new EventSource(this.href(path));
    if (this.#session.isCookie && globalThis.EventSource) {
      return new globalThis.EventSource(this.href(path));
    }
    const events = new FetchEvents((init) => this.#session.fetch(path, init));
    return /** @type {import("./framewire.d.ts").EventStream} */ (/** @type {unknown} */ (events));
  }

  /** @param {import("./stream.js").StreamState} state */
  #connected(state) {
    this.#poller.polling = state === "blocked";
    this.#state = state === "blocked" ? "polling" : state;
    this.#options.onState?.(this.#state);
  }
}
