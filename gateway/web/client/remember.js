// Remembers what is in flight across a reload.
//
// An order is written before it is sent, so that also one whose answer is lost with the page is sent
// again, with the same key. One item each, because tabs share the storage and write at any time.
// A storage that is full or forbidden costs the memory and nothing else.

const PREFIX = "framewire.order.";
/** Jobs are kept for a day after their end; what is older than two is nobody's any more. */
const AGE_MS_MAX = 2 * 86_400_000;

/** @typedef {{key: string, at: number, body?: any, id?: string}} Remembered */

export class Memory {
  #storage;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  /** @param {string} key @param {{body?: object, id?: string}} order */
  put(key, order) {
    this.#try((storage) =>
      storage.setItem(PREFIX + key, JSON.stringify({ ...order, at: Date.now() })),
    );
  }

  /** @param {string} key */
  drop(key) {
    this.#try((storage) => storage.removeItem(PREFIX + key));
  }

  /** @returns {Remembered[]} oldest first */
  all() {
    /** @type {Remembered[]} */
    const orders = [];
    this.#try((storage) => {
      const names = Array.from({ length: storage.length }, (_, index) => storage.key(index));
      for (const name of names) {
        if (!name?.startsWith(PREFIX)) continue;
        const order = JSON.parse(storage.getItem(name) ?? "null");
        if (Date.now() - order.at > AGE_MS_MAX) storage.removeItem(name);
        else orders.push({ key: name.slice(PREFIX.length), ...order });
      }
    });
    return orders.sort((a, b) => a.at - b.at);
  }

  /** @param {(storage: Storage) => void} work */
  #try(work) {
    try {
      if (this.#storage) work(this.#storage);
    } catch {
      // Said above.
    }
  }
}

/** The page's storage, unless it has none or may not have it. */
export function pageStorage() {
  try {
    return globalThis.document ? globalThis.localStorage : null;
  } catch {
    return null;
  }
}
