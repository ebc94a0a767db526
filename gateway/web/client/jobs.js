// The dispatch map: from a job's id to its handle, for jobs in flight alone.
//
// Everything that arrives goes through here. A handle leaves when its job has ended, so nothing is
// kept of a page's past; where all jobs are followed, one that nobody knows is `found`. An event may
// overtake the answer to its own submit: while a submit is under way ids that nobody knows are noted,
// and such a job is read once more as soon as it is known.

import { Problem } from "./session.js";

/** @typedef {import("./job.js").JobHandle} JobHandle */

export class Jobs {
  /** @type {Map<string, JobHandle>} */
  #handles = new Map();
  #call;
  #lookAgain;
  #submits = 0;
  /** @type {Set<string>} */
  #overtaken = new Set();
  /** Holds a job that somebody else ordered, whole or by its id alone; null where only ours count.
   *  @type {((job: {id: string, v?: number}) => void) | null} */
  found = null;

  /**
   * @param {(method: string, path: string) => Promise<any>} call
   * @param {() => void} lookAgain asks for `refreshAll`, after a look that failed
   */
  constructor(call, lookAgain) {
    this.#call = call;
    this.#lookAgain = lookAgain;
  }

  get size() {
    return this.#handles.size;
  }

  /** @param {string} id */
  get(id) {
    return this.#handles.get(id);
  }

  /** Holds a job until it is removed, which its end does. @param {JobHandle} handle */
  add(handle) {
    this.#handles.set(handle.id, handle);
  }

  /** @param {JobHandle} handle */
  remove(handle) {
    this.#handles.delete(handle.id);
  }

  /**
   * Runs a submit; `make` gives the handles of the jobs that it answers with.
   * @param {() => Promise<any>} submit
   * @param {(answer: any) => JobHandle[]} make
   */
  async during(submit, make) {
    this.#submits++;
    try {
      const answer = await submit();
      const handles = make(answer);
      for (const handle of handles) {
        if (!this.#overtaken.delete(handle.id)) continue;
        await this.refresh(handle).catch(this.#lookAgain);
      }
      return { answer, handles };
    } finally {
      if (--this.#submits === 0) this.#overtaken.clear();
    }
  }

  /**
   * Hands an event to its job.
   * @param {import("./job-change.js").EventType} type
   * @param {import("./job-change.js").EventData} data
   */
  dispatch(type, data) {
    const handle = this.#handles.get(data.job);
    if (handle) return handle.apply(type, data);
    if (this.#submits > 0) this.#overtaken.add(data.job);
    this.found?.({ id: data.job });
  }

  /**
   * Reads one job; one that the gateway does not know has failed. Gives whether there was news.
   * @param {JobHandle} handle
   */
  async refresh(handle) {
    try {
      return handle.take(await this.#call("GET", `/v1/jobs/${encodeURIComponent(handle.id)}`));
    } catch (error) {
      if (!(error instanceof Problem) || ![404, 410].includes(error.status)) throw error;
      handle.lost(error);
      return true;
    }
  }

  /** Reads all jobs in flight: the active ones in one step, then those that are not among them. */
  async refreshAll() {
    const asked = [...this.#handles.values()];
    const { jobs } = await this.#call("GET", "/v1/jobs?active=1");
    /** @type {Map<string, import("./framewire.d.ts").Job>} */
    const active = new Map(jobs.map((/** @type {{id: string}} */ job) => [job.id, job]));
    let news = false;
    for (const job of this.found ? active.values() : []) {
      if (this.#handles.has(job.id)) continue;
      if (this.#submits > 0) this.#overtaken.add(job.id);
      this.found?.(job);
      news = true;
    }
    for (const handle of asked) {
      const job = active.get(handle.id);
      news = (job ? handle.take(job) : await this.refresh(handle)) || news;
    }
    return news;
  }

  close() {
    for (const handle of this.#handles.values()) handle.close();
    this.#handles.clear();
  }
}
