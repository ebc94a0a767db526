// Decides which jobs have a card: those at work, and those that ended while the reader looked on;
// and shows the order that was refused last.
//
// A new order files what is done away (its frames are in the gallery anyway); failures stay until
// they are dismissed or retried. A job that is new to a page that has caught up gets a card even if
// it has ended by then. On a page that opens with nothing at work, the newest job is shown.

import { Card } from "/studio/card.js";
import { find, stillness } from "/studio/dom.js";
import { Refusal } from "/studio/refusal.js";
import { inOrder } from "/studio/shelf.js";
import { hasEnded } from "/studio/words.js";

/** Cards beyond which a job that has ended is no news any more; the list of jobs has it. */
const NEWS_MAX = 6;

export class Board {
  #cards = new Map();
  #kept = new Set();
  #refusal = null;
  #acts;
  #list;
  #empty;
  /** From when on a new job is news, whatever its state. */
  #opened_at = null;

  constructor(list, empty, acts) {
    this.#list = list;
    this.#empty = empty;
    this.#acts = { ...acts, dismiss: (job) => this.#dismiss(job) };
    setInterval(() => {
      this.#cards.forEach((card) => card.tick(Date.now()));
      this.#refusal?.tick(Date.now());
    }, 1000);
  }

  /** Shows a job; `before` is what it was, under another id where it was an order. */
  show(job, before) {
    if (before && before.id !== job.id) this.#rename(before.id, job.id);
    if (!hasEnded(job) || this.#isNews(job, before)) this.#kept.add(job.id);
    if (!this.#kept.has(job.id)) return;
    const card = this.#cards.get(job.id);
    if (card) return card.update(job);
    const made = new Card(job, this.#acts);
    this.#cards.set(job.id, made);
    const older = [...this.#cards.values()]
      .filter((other) => other !== made && inOrder(made.job, other.job) < 0)
      .sort((a, b) => inOrder(a.job, b.job))[0];
    this.#list.insertBefore(made.node, older?.node ?? null);
    this.#settle();
  }

  #isNews({ created_at }, before) {
    const opened = this.#opened_at !== null && created_at > this.#opened_at;
    return !before && opened && this.#cards.size < NEWS_MAX;
  }

  #rename(from, to) {
    if (this.#kept.delete(from)) this.#kept.add(to);
    const card = this.#cards.get(from);
    this.#cards.delete(from);
    if (card) this.#cards.set(to, card);
  }

  remove(id) {
    this.#kept.delete(id);
    const node = this.#cards.get(id)?.node;
    const hadFocus = node?.contains(document.activeElement);
    node?.remove();
    this.#cards.delete(id);
    this.#settle();
    if (hadFocus) find("prompt").focus();
  }

  /** Shows why an order was not accepted, in place of any before it. */
  refuse(order, error) {
    if (this.#refusal?.order !== order) {
      this.accept();
      const dismiss = () => {
        this.accept();
        find("prompt").focus();
      };
      this.#refusal = new Refusal(order, { send: this.#acts.send, dismiss });
      this.#list.prepend(this.#refusal.node);
      this.#settle();
    }
    this.#refusal.update(error);
    reveal(this.#refusal.node);
  }

  /** Whether this very order is shown as refused. */
  refuses(order) {
    return this.#refusal?.order === order;
  }

  /** Forgets what was refused. */
  accept() {
    this.#refusal?.node.remove();
    this.#refusal = null;
    this.#settle();
  }

  /** After the page has caught up: never an empty board where there is something to see. */
  open(newest) {
    if (newest && this.#cards.size === 0) {
      this.#kept.add(newest.id);
      this.show(newest, newest);
    }
    this.#opened_at ??= newest?.created_at ?? "";
    this.#settle();
  }

  /** Makes room for what comes. */
  file() {
    for (const { job } of [...this.#cards.values()]) {
      if (job.status === "completed" || job.status === "cancelled") this.remove(job.id);
    }
  }

  /** Brings a card into view; gives whether there is one. */
  reveal(id) {
    const card = this.#cards.get(id);
    reveal(card?.node);
    return Boolean(card);
  }

  #dismiss(job) {
    const next = this.#cards.get(job.id)?.node.nextElementSibling;
    this.remove(job.id);
    (next ?? find("prompt")).focus();
  }

  #settle() {
    this.#empty.hidden = this.#cards.size > 0 || this.#refusal !== null;
  }
}

function reveal(card) {
  const picture = card?.querySelector(".card-picture");
  picture?.scrollIntoView({ block: "nearest", behavior: stillness.matches ? "auto" : "smooth" });
}
