// The contact sheet: every frame of this session, newest first, as prints of one height.
//
// A print hangs from the moment its job is ordered, with its proportions and, once there is one, a
// blurred miniature, so nothing moves when a frame arrives. A place whose frame will never come
// stays empty until the next order clears it away. A print whose picture is gone (frames expire)
// says so.

import { el, setRatio, setText } from "/studio/dom.js";
import { inOrder } from "/studio/shelf.js";
import * as tiny from "/studio/tiny.js";
import { clip, count, hasEnded } from "/studio/words.js";

export class Gallery {
  #list;
  #count;
  #open;
  /** By job and index: {job, index, frame?, node}. */
  #prints = new Map();
  #wanted = () => true;

  /** `open(entry)` is called when a print is pressed. */
  constructor(list, counter, open) {
    this.#list = list;
    this.#count = counter;
    this.#open = open;
  }

  /** All frames in the order in which they hang. */
  entries() {
    const all = [...this.#prints.values()].sort(inPrintOrder);
    return all.filter(({ frame, node }) => frame && !node.hidden);
  }

  /** Shows only the prints of jobs that are wanted. */
  filter(wanted) {
    this.#wanted = wanted;
    for (const print of this.#prints.values()) print.node.hidden = !wanted(print.job);
    this.#settle();
  }

  show(job, before) {
    if (before && before.id !== job.id) this.#rename(before, job);
    const places = hasEnded(job) ? job.frames.map(({ index }) => index) : indexes(job);
    for (const index of places) {
      const print = this.#prints.get(key(job, index)) ?? this.#hang(job, index);
      const frame = job.frames.find((candidate) => candidate.index === index);
      print.job = job;
      if (frame && frame.url !== print.frame?.url) this.#develop(print, frame);
      else if (!frame && print.frame) this.#clear(print);
      else if (!frame) this.#miniature(print);
    }
    for (const index of indexes(job)) {
      const print = this.#prints.get(key(job, index));
      if (print && !places.includes(index)) print.node.dataset.empty = "";
    }
    this.#settle();
  }

  remove(job) {
    for (const index of indexes(job)) {
      this.#prints.get(key(job, index))?.node.remove();
      this.#prints.delete(key(job, index));
    }
    this.#settle();
  }

  /** Takes away the places that stayed empty. */
  tidy() {
    for (const [name, { node }] of this.#prints) {
      if (!("empty" in node.dataset)) continue;
      node.remove();
      this.#prints.delete(name);
    }
    this.#settle();
  }

  #rename(from, to) {
    for (const index of indexes(from)) {
      const print = this.#prints.get(key(from, index));
      this.#prints.delete(key(from, index));
      if (print) this.#prints.set(key(to, index), print);
    }
  }

  #hang(job, index) {
    const label = `Open frame: ${clip(job.input.prompt, 120)}`;
    const button = el("button", {
      type: "button",
      class: "print-button",
      disabled: true,
      "aria-label": label,
    });
    const edge = el("span", { class: "edge", "aria-hidden": "true" });
    const node = el("li", { class: "print" }, button, edge);
    const print = { job, index, frame: null, node, button, edge };
    button.addEventListener("click", () => print.frame && this.#open(print));
    setRatio(node, job.input.width, job.input.height);
    node.hidden = !this.#wanted(job);
    const all = [...this.#prints.values()].sort(inPrintOrder);
    const after = all.find((other) => inPrintOrder(print, other) < 0);
    this.#prints.set(key(job, index), print);
    this.#list.insertBefore(node, after?.node ?? null);
    this.#miniature(print);
    return print;
  }

  #miniature(print) {
    const url = tiny.of(`${print.job.id}/${print.index}`);
    if (!url || print.node.querySelector(".is-tiny")?.getAttribute("src") === url) return;
    print.button.replaceChildren(el("img", { src: url, alt: "", class: "is-tiny" }));
  }

  #develop(print, frame) {
    print.frame = frame;
    delete print.node.dataset.empty;
    this.#miniature(print);
    setRatio(print.node, frame.width, frame.height);
    setText(print.edge, String(frame.seed));
    const { button } = print;
    const props = { src: frame.url, alt: "", loading: "lazy", decoding: "async" };
    const picture = el("img", { ...props, class: "is-print", draggable: "false" });
    picture.addEventListener("load", () => {
      button.classList.add("is-in");
      tiny.keep(`${print.job.id}/${print.index}`, picture);
    });
    picture.addEventListener("error", () => {
      button.disabled = true;
      button.replaceChildren(el("span", { class: "paper-gone" }, "Gone"));
    });
    button.disabled = false;
    button.append(picture);
  }

  /** It is drawn again. */
  #clear(print) {
    print.frame = null;
    print.button.replaceChildren();
    print.button.disabled = true;
    print.button.classList.remove("is-in");
    setText(print.edge, "");
  }

  #settle() {
    setText(this.#count, count(this.entries().length, "frame"));
  }
}

const key = (job, index) => `${job.id}/${index}`;

const indexes = ({ input }) => Array.from({ length: input.n ?? 1 }, (_, index) => index);

const inPrintOrder = (a, b) => inOrder(a.job, b.job) || a.index - b.index;
