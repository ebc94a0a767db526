// Decides which jobs have a card: those at work, and those that ended while the reader looked on;
// and shows the order that was refused last.
//
// A new submission files what is done away (its frames are in the gallery anyway); failures stay
// until they are dismissed or retried. On a page that opens with nothing at work, the newest job is shown.

import { Card } from "/studio/card.js";
import { stillness } from "/studio/dom.js";
import { Refusal } from "/studio/refusal.js";
import { hasEnded } from "/studio/words.js";

export class Board {
  #cards = new Map();
  #kept = new Set();
  #refusal = null;
  #acts;
  #list;
  #empty;

  constructor(list, empty, acts) {
    this.#list = list;
    this.#empty = empty;
    this.#acts = { ...acts, dismiss: (job) => this.#dismiss(job) };
    setInterval(() => {
      this.#cards.forEach((card) => card.tick(Date.now()));
      this.#refusal?.tick(Date.now());
    }, 1000);
  }

  show(job) {
    if (!hasEnded(job)) this.#kept.add(job.id);
    if (!this.#kept.has(job.id)) return;
    const card = this.#cards.get(job.id);
    if (card) return card.update(job);
    const made = new Card(job, this.#acts);
    made.created_at = job.created_at;
    this.#cards.set(job.id, made);
    const older = [...this.#cards.values()]
      .filter((other) => other !== made && other.created_at <= made.created_at)
      .sort((a, b) => b.created_at.localeCompare(a.created_at))[0];
    this.#list.insertBefore(made.node, older?.node ?? null);
    this.#settle();
  }

  remove(id) {
    this.#kept.delete(id);
    this.#cards.get(id)?.node.remove();
    this.#cards.delete(id);
    this.#settle();
  }

  /** Shows why an order was not accepted, in place of any before it. */
  refuse(order, error) {
    if (this.#refusal?.order !== order) {
      this.accept();
      const dismiss = () => {
        this.accept();
        document.getElementById("prompt").focus();
      };
      this.#refusal = new Refusal(order, { send: this.#acts.send, dismiss });
      this.#list.prepend(this.#refusal.node);
      this.#settle();
    }
    this.#refusal.update(error);
    reveal(this.#refusal.node);
  }

  /** Forgets what was refused. */
  accept() {
    this.#refusal?.node.remove();
    this.#refusal = null;
    this.#settle();
  }

  /** After a snapshot: never an empty board where there is something to see. */
  fallBackTo(newest) {
    if (newest && this.#cards.size === 0) {
      this.#kept.add(newest.id);
      this.show(newest);
    }
    this.#settle();
  }

  /** Makes room for what comes. */
  file(jobs) {
    for (const job of jobs) {
      if (job.status === "completed" || job.status === "cancelled") this.remove(job.id);
    }
  }

  /** Brings a card into view where it is not. */
  reveal(id) {
    reveal(this.#cards.get(id)?.node);
  }

  #dismiss(job) {
    const next = this.#cards.get(job.id)?.node.nextElementSibling;
    this.remove(job.id);
    (next ?? document.getElementById("prompt")).focus();
  }

  #settle() {
    this.#empty.hidden = this.#cards.size > 0 || this.#refusal !== null;
  }
}

function reveal(card) {
  const picture = card?.querySelector(".card-picture");
  picture?.scrollIntoView({ block: "nearest", behavior: stillness.matches ? "auto" : "smooth" });
}
