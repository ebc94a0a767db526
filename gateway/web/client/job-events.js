// The events of one job as somebody reads them, from now to its end.
//
// Who reads slowly misses progress and places, of which only the newest is worth waiting in line,
// and nothing else.

/** @typedef {import("./framewire.d.ts").JobEvent} JobEvent */

const PASSING = new Set(["position", "progress"]);

/** @implements {AsyncIterableIterator<JobEvent>} */
export class JobEvents {
  /** @type {JobEvent[]} */
  #queue = [];
  #done;
  #leave;
  /** @type {(() => void)[]} */
  #waiting = [];

  /**
   * @param {boolean} done whether there is nothing to come
   * @param {(reader: JobEvents) => void} leave called once, when nothing is read any more
   */
  constructor(done, leave) {
    this.#done = done;
    this.#leave = leave;
  }

  /** @param {JobEvent} event */
  push(event) {
    if (PASSING.has(event.type) && this.#queue.at(-1)?.type === event.type) this.#queue.pop();
    this.#queue.push(event);
    this.#wake();
  }

  end() {
    this.#done = true;
    this.#leave(this);
    this.#wake();
  }

  /** @returns {Promise<IteratorResult<JobEvent, undefined>>} */
  async next() {
    while (this.#queue.length === 0 && !this.#done) {
      await new Promise((wake) => this.#waiting.push(() => wake(null)));
    }
    const value = this.#queue.shift();
    return value ? { value, done: false } : { value: undefined, done: true };
  }

  /** @returns {Promise<IteratorResult<JobEvent, undefined>>} */
  async return() {
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  #wake() {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
