// Looks at the jobs in flight: again and again while the stream can't be held, once after a
// position was lost, and rarely while all is well.
//
// One look at a time; one that failed is repeated. It stops by itself when nothing is in flight.

export class Poller {
  #look;
  #timing;
  #wanted;
  #on = false;
  #due = false;
  #busy = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #pause_ms;
  #stopped = false;

  /**
   * @param {() => Promise<boolean>} look says whether there was news
   * @param {() => boolean} wanted whether anything is in flight
   * @param {import("./timing.js").Timing} timing
   */
  constructor(look, wanted, timing) {
    this.#look = look;
    this.#wanted = wanted;
    this.#timing = timing;
    this.#pause_ms = timing.pollMs;
  }

  /** Looks now, and again until a look succeeds. */
  once() {
    this.#due = true;
    this.#turn();
  }

  /** Polls from now on, or no more. */
  set polling(on) {
    if (on === this.#on) return;
    this.#on = on;
    this.#pause_ms = this.#timing.pollMs;
    if (on) this.#turn();
  }

  get polling() {
    return this.#on;
  }

  /** Something is in flight now. */
  arm() {
    if (!this.#timer && !this.#busy) this.#schedule();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #turn() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#busy || this.#stopped) return;
    this.#busy = true;
    this.#due = false;
    let news = false;
    try {
      news = this.#wanted() && (await this.#look());
    } catch {
      this.#due = true;
    }
    this.#busy = false;
    const { pollMs, pollMsMax } = this.#timing;
    this.#pause_ms = news ? pollMs : Math.min(pollMsMax, this.#pause_ms * 1.5);
    this.#schedule();
  }

  #schedule() {
    if (this.#stopped || !this.#wanted()) return;
    clearTimeout(this.#timer);
    const pause_ms = this.#on || this.#due ? this.#pause_ms : this.#timing.checkMs;
    this.#timer = setTimeout(() => this.#turn(), pause_ms);
  }
}
