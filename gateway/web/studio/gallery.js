// The contact sheet: every frame of this session, newest first, as prints of one height.
//
// Each print has its proportions before its picture arrives, so rows never move. A print whose
// picture is gone (frames expire) says so and can't be opened.

import { el, setRatio, setText } from "/studio/dom.js";
import { clip } from "/studio/words.js";

export class Gallery {
  #section;
  #list;
  #count;
  #open;
  #prints = new Map();

  constructor(section, open) {
    this.#section = section;
    this.#list = section.querySelector("#prints");
    this.#count = section.querySelector("#count");
    this.#open = open;
  }

  /** All frames in the order in which they hang. */
  entries() {
    return [...this.#prints.values()].sort(inOrder);
  }

  show(job) {
    const keys = new Set(job.frames.map((frame) => key(job, frame)));
    for (const [name, print] of this.#prints) {
      if (print.job.id === job.id && !keys.has(name)) this.#take(name);
    }
    for (const frame of job.frames) {
      const print = this.#prints.get(key(job, frame));
      if (print) print.job = job;
      else this.#hang(job, frame);
    }
    this.#settle();
  }

  remove(job) {
    this.show({ ...job, frames: [] });
  }

  #hang(job, frame) {
    const entry = { job, frame };
    const picture = el("img", {
      src: frame.url,
      alt: "",
      loading: "lazy",
      decoding: "async",
      draggable: "false",
    });
    const button = el(
      "button",
      {
        type: "button",
        class: "print-button",
        "aria-label": `Open frame: ${clip(job.input.prompt, 120)}`,
      },
      picture,
    );
    button.addEventListener("click", () => this.#open(entry));
    picture.addEventListener("load", () => button.classList.add("is-in"));
    picture.addEventListener("error", () => {
      button.disabled = true;
      button.replaceChildren(el("span", { class: "paper-gone" }, "Gone"));
    });
    const edge = el("span", { class: "edge", "aria-hidden": "true" }, String(frame.seed));
    entry.node = el("li", { class: "print" }, button, edge);
    setRatio(entry.node, frame.width, frame.height);
    const after = this.entries().find((other) => inOrder(entry, other) < 0);
    this.#prints.set(key(job, frame), entry);
    this.#list.insertBefore(entry.node, after?.node ?? null);
  }

  #take(name) {
    this.#prints.get(name).node.remove();
    this.#prints.delete(name);
  }

  #settle() {
    const frames = this.#prints.size;
    this.#section.hidden = frames === 0;
    setText(this.#count, frames === 1 ? "1 frame" : `${frames} frames`);
  }
}

const key = (job, frame) => `${job.id}/${frame.index}`;

const inOrder = (a, b) =>
  b.job.created_at.localeCompare(a.job.created_at) ||
  b.job.id.localeCompare(a.job.id) ||
  a.frame.index - b.frame.index;
