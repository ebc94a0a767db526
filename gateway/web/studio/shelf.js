// Every job of the session that the page knows: those at work, those that were loaded from the
// session's past, and orders that are on their way.
//
// The client follows what is at work, in whichever tab it was ordered; the past comes in pages. The
// higher `v` wins. An order has its place from the moment it is sent, so that nothing moves when
// the answer comes; the job that it becomes takes that place over. Listeners hear (job, before),
// (null, before) when one is gone, and `before` has another id where an order became a job.

import { hasEnded } from "/studio/words.js";

/** Jobs of one page of the past. */
const PAGE_JOBS = 50;
/** Pages that are read to catch up; whoever was away for longer scrolls. */
const PAGES_MAX = 6;

export class Shelf {
  #fw;
  #jobs = new Map();
  #handles = new Map();
  #listeners = [];
  #next;
  #loading = null;
  #tabs = globalThis.BroadcastChannel && new BroadcastChannel("framewire.studio");

  /** @param {import("/client/framewire.js").Framewire} fw */
  constructor(fw) {
    this.#fw = fw;
    // No event tells that a job was deleted.
    if (this.#tabs) this.#tabs.onmessage = ({ data }) => this.#drop(data.deleted);
  }

  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Newest first. */
  all() {
    return [...this.#jobs.values()].sort(inOrder);
  }

  get(id) {
    return this.#jobs.get(id);
  }

  /** Whether the session has jobs that are not loaded yet. */
  get hasOlder() {
    return Boolean(this.#next);
  }

  follow() {
    this.#fw.follow((handle) => {
      this.#handles.set(handle.id, handle);
      handle.on({ change: (job) => this.#heard(job) });
    });
  }

  /** Reads the newest jobs, back to one that is known: what ended while nobody listened. */
  async catchUp() {
    const known = new Set(this.#jobs.keys());
    let cursor = null;
    for (let pages = 0; pages < PAGES_MAX; pages++) {
      const page = await this.#page(cursor);
      this.#next ??= page.next_cursor;
      cursor = page.next_cursor;
      const meets = known.size === 0 || page.data.some(({ id }) => known.has(id));
      for (const job of page.data) this.#take(job);
      if (!cursor || meets) return;
    }
  }

  /** Reads one page more of the past. */
  older() {
    this.#loading ??= this.#older().finally(() => (this.#loading = null));
    return this.#loading;
  }

  async #older() {
    if (!this.#next) return;
    const page = await this.#page(this.#next);
    this.#next = page.next_cursor;
    for (const job of page.data) this.#take(job);
  }

  #page(cursor) {
    const after = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    return this.#fw.call("GET", `/v1/jobs?limit=${PAGE_JOBS}${after}`);
  }

  /** Puts an order in its place before it is sent. */
  expect(key, { input, priority = "normal", model }) {
    const shape = { width: 512, height: 512, steps: 20, n: 1 };
    const created_at = new Date().toISOString();
    const draft = { id: `order-${key}`, v: 0, status: "sending", created_at, priority, model };
    this.#put({ ...draft, input: { ...shape, ...input }, frames: [], isOrder: true });
  }

  /** Forgets an order that was refused. */
  refused(key) {
    this.#drop(`order-${key}`);
  }

  /** Takes the job that an order became. */
  accepted(key, job) {
    const order = this.#jobs.get(`order-${key}`);
    if (order && this.#jobs.has(job.id)) this.#drop(order.id);
    this.#take(job, order);
  }

  async cancel(id) {
    await (this.#handles.get(id) ?? (await this.#fw.watch(id))).cancel();
  }

  async retry(id) {
    await (await this.#fw.watch(id)).retry();
  }

  async remove(id) {
    await this.#fw.call("DELETE", `/v1/jobs/${encodeURIComponent(id)}`).catch((error) => {
      if (error.status !== 404) throw error;
    });
    this.#drop(id);
    this.#tabs?.postMessage({ deleted: id });
  }

  #heard(job) {
    // Held by its id alone until the gateway has answered; gone where it does not know it.
    if (job.isUnknown) return this.#drop(job.id);
    if (job.input) this.#take(job, this.#orderOf(job), true);
  }

  #take(job, order = this.#orderOf(job), isNewer = false) {
    const before = this.#jobs.get(job.id);
    if (before && (job.v < before.v || (job.v === before.v && !isNewer))) return;
    if (hasEnded(job)) this.#handles.delete(job.id);
    if (!before && order) this.#jobs.delete(order.id);
    this.#put(job, before ?? order);
  }

  /** Finds the order that a job seems to be, whose answer is still on its way. */
  #orderOf({ id, input }) {
    if (this.#jobs.has(id)) return undefined;
    const isIt = ({ isOrder, input: wanted }) =>
      isOrder &&
      wanted.prompt === input.prompt &&
      wanted.n === input.n &&
      wanted.width === input.width &&
      wanted.height === input.height &&
      (wanted.seed ?? input.seed) === input.seed;
    return [...this.#jobs.values()].find(isIt);
  }

  #put(job, before = this.#jobs.get(job.id)) {
    this.#jobs.set(job.id, job);
    for (const listener of this.#listeners) listener(job, before ?? null);
  }

  #drop(id) {
    const before = this.#jobs.get(id);
    if (!before) return;
    this.#jobs.delete(id);
    this.#handles.delete(id);
    for (const listener of this.#listeners) listener(null, before);
  }
}

/** Newest first; an order on its way before all. */
export const inOrder = (a, b) =>
  Number(Boolean(b.isOrder)) - Number(Boolean(a.isOrder)) ||
  b.created_at.localeCompare(a.created_at) ||
  b.id.localeCompare(a.id);
