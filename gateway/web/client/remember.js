// Remembers what is in flight across a reload.
//
// An order is written before it is sent, so that also one whose answer is lost with the page is sent
// again, with the same key. One item each, because tabs share the storage and write at any time.
// A storage that is full or forbidden costs the memory and nothing else.

const PREFIX = "framewire.order.";
/** Jobs are kept for a day after their end; what is older than two is nobody's any more. */
const AGE_MS_MAX = 2 * 86_400_000;

export class Memory {
  #storage;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  put(key, order) {
    this.#try((storage) =>
      storage.setItem(PREFIX + key, JSON.stringify({ ...order, at: Date.now() })),
    );
  }

  drop(key) {
    this.#try((storage) => storage.removeItem(PREFIX + key));
  }

  /** @returns {{key: string, body: object, id?: string}[]} oldest first */
  all() {
    const orders = [];
    this.#try((storage) => {
      const names = Array.from({ length: storage.length }, (_, index) => storage.key(index));
      for (const name of names.filter((name) => name?.startsWith(PREFIX))) {
        const order = JSON.parse(storage.getItem(name));
        if (Date.now() - order.at > AGE_MS_MAX) storage.removeItem(name);
        else orders.push({ key: name.slice(PREFIX.length), ...order });
      }
    });
    return orders.sort((a, b) => a.at - b.at);
  }

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
