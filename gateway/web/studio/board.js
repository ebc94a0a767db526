// Decides which jobs have a card: those at work, and those that ended while the reader looked on.
//
// A new submission files what is done away (its frames are in the gallery anyway); failures stay
// until they are dismissed or retried. On a page that opens with nothing at work, the newest job is shown.

import { Card } from "/studio/card.js";
import { stillness } from "/studio/dom.js";
import { hasEnded } from "/studio/words.js";

export class Board {
  #cards = new Map();
  #kept = new Set();
  #acts;
  #list;
  #empty;

  constructor(list, empty, acts) {
    this.#list = list;
    this.#empty = empty;
    this.#acts = { ...acts, dismiss: (job) => this.#dismiss(job) };
    setInterval(() => this.#cards.forEach((card) => card.tick(Date.now())), 1000);
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
    const picture = this.#cards.get(id)?.node.querySelector(".card-picture");
    picture?.scrollIntoView({ block: "nearest", behavior: stillness.matches ? "auto" : "smooth" });
  }

  #dismiss(job) {
    const next = this.#cards.get(job.id)?.node.nextElementSibling;
    this.remove(job.id);
    (next ?? document.getElementById("prompt")).focus();
  }

  #settle() {
    this.#empty.hidden = this.#cards.size > 0;
  }
}
