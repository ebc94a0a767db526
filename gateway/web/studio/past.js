// The session's past under the board: the contact sheet or all jobs, one filter for both, and page
// after page as the reader scrolls.
//
// The gateway gives pages and no more; state and words are looked for here, in what is loaded, and
// more is loaded for as long as the end of the list is in sight.

import { announce, find } from "/studio/dom.js";
import { Gallery } from "/studio/gallery.js";
import { History } from "/studio/history.js";
import { hasEnded } from "/studio/words.js";

const STATES = {
  all: () => true,
  working: (job) => !hasEnded(job),
  completed: (job) => job.status === "completed",
  failed: (job) => job.status === "failed",
  cancelled: (job) => job.status === "cancelled",
};

export class Past {
  #shelf;
  #watcher;
  #older = find("older");
  #nothing = find("past-nothing");

  /** `acts`: open(entry) for a frame, show(job), menu(job, anchor), explain(error). */
  constructor(shelf, acts) {
    this.#shelf = shelf;
    this.gallery = new Gallery(find("prints"), find("frame-count"), acts.open);
    this.history = new History(find("jobs"), find("job-count"), acts);
    for (const choice of document.getElementsByName("past-view")) {
      choice.addEventListener("change", () => this.#view(choice.value));
    }
    const look = () => this.#filter();
    find("search").addEventListener("input", look);
    find("state").addEventListener("change", look);
    const more = () => this.#more().catch((error) => announce(acts.explain(error)));
    this.#older.addEventListener("click", more);
    this.#watcher = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && more());
  }

  show(job, before) {
    this.gallery.show(job, before);
    this.history.show(job, before);
    find("past").hidden = false;
    this.#settle();
  }

  remove(job) {
    this.gallery.remove(job);
    this.history.remove(job.id);
    find("past").hidden = this.#shelf.all().length === 0;
    this.#settle();
  }

  /** Looks whether there is more, after something was loaded. */
  loaded() {
    this.#older.hidden = !this.#shelf.hasOlder;
    this.#watcher.disconnect();
    // Observed anew, it says again whether it is in sight.
    if (this.#shelf.hasOlder) this.#watcher.observe(this.#older);
    this.#settle();
  }

  async #more() {
    this.#watcher.disconnect();
    await this.#shelf.older();
    this.loaded();
  }

  #view(view) {
    find("past").dataset.view = view;
    this.loaded();
  }

  #filter() {
    const words = find("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const isState = STATES[find("state").value];
    const wanted = (job) => {
      const prompt = job.input.prompt.toLowerCase();
      return isState(job) && words.every((word) => prompt.includes(word));
    };
    this.gallery.filter(wanted);
    this.history.filter(wanted);
    this.loaded();
  }

  #settle() {
    const list = find(find("past").dataset.view === "jobs" ? "jobs" : "prints");
    const isEmpty = !list.querySelector(":scope > :not([hidden])");
    this.#nothing.hidden = !isEmpty || this.#shelf.hasOlder;
  }
}
