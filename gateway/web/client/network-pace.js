// How many downloads at a time the network bears.
//
// One more after each round of quick ones, half as many after one that failed or was slow, and never
// more than what the browser says of the network allows. The number is asked anew for each download.

/** A download slower than this does better with less company. */
const SLOW_MS = 4_000;
/** What `navigator.connection.effectiveType` bears; the rest bears all. */
const BEARS = { "slow-2g": 1, "2g": 1, "3g": 2 };

export class NetworkPace {
  #most;
  #limit;

  /** @param {number} [most] never more than these */
  constructor(most = 6) {
    this.#most = most;
    this.#limit = Math.min(2, most);
  }

  /** Downloads that may run at a time now. */
  get limit() {
    const { connection } = /** @type {{connection?: {saveData?: boolean, effectiveType?: string}}} */ (
      globalThis.navigator ?? {}
    );
    const named = /** @type {Record<string, number>} */ (BEARS)[connection?.effectiveType ?? ""];
    const borne = connection?.saveData ? 1 : (named ?? this.#most);
    return Math.max(1, Math.min(Math.floor(this.#limit), borne));
  }

  /** A download took so long, or failed, which is for ever. @param {number} ms */
  took(ms) {
    if (ms > SLOW_MS) this.#limit = Math.max(1, this.#limit / 2);
    else this.#limit = Math.min(this.#most, this.#limit + 1 / this.#limit);
  }
}
