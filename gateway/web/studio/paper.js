// One sheet of paper on which a frame develops: what stands in for it, then preview after preview,
// then the frame; or, in a batch, why there is none.
//
// A picture is shown only once it is decoded, above the one before it, so nothing flashes and
// nothing moves; the sheet's size comes from the job. The haze is driven by real steps. Until a
// frame that the page has seen before is decoded, its blurred miniature is there.

import { el, setText, stillness } from "/studio/dom.js";
import * as tiny from "/studio/tiny.js";

const FADE_MS = 900; // As long as the transition in board.css.

/** The end of every fallback: this picture is always there. */
export const SHIPPED = "/v1/fallback.webp";

export class Paper {
  #shown = null;
  #wanted = null;

  /** `onOpen` is called when the finished frame is pressed. */
  constructor(label, onOpen) {
    this.node = el("button", {
      type: "button",
      class: "paper",
      disabled: true,
      "aria-label": label,
    });
    this.node.addEventListener("click", onOpen);
    this.label = label;
  }

  /** Back to an empty sheet. */
  clear() {
    this.#wanted = null;
    this.#shown = null;
    this.node.replaceChildren();
    this.node.disabled = true;
    this.node.setAttribute("aria-label", this.label);
    delete this.node.dataset.holds;
  }

  /** How far along this frame is, 0 to 1. */
  develop(fraction) {
    const left = 1 - Math.min(1, Math.max(0, fraction));
    this.node.style.setProperty("--haze", left.toFixed(3));
  }

  /** What stands in: until there is a look at the frame itself, and again if there will be none. */
  fallback(url, ended) {
    if (this.node.dataset.holds === "frame" || (this.#wanted && !ended)) return;
    this.#show(url, "fallback", "");
  }

  /** `name` is the frame's, under which its miniature is kept. */
  preview(url, name) {
    if (this.node.dataset.holds !== "frame") this.#show(url, "preview", "", name);
  }

  frame(frame, prompt, name) {
    this.develop(1);
    this.#show(frame.url, "frame", prompt, name);
  }

  /** Says why this frame of a batch could not be made. */
  missing(why) {
    this.#wanted ??= "";
    let note = this.node.querySelector(".paper-missing");
    if (!note) this.node.append((note = el("span", { class: "paper-missing" })));
    setText(note, why);
    this.node.dataset.holds = "nothing";
    this.node.setAttribute("aria-label", `${this.label} is missing: ${why}`);
  }

  async #show(url, holds, alt, name) {
    if (url === this.#wanted) return;
    this.#wanted = url;
    const miniature = holds === "frame" && !this.#shown && tiny.of(name);
    if (miniature) this.#place(el("img", { src: miniature, alt: "", class: "is-tiny is-in" }));
    const picture = el("img", { src: url, alt, draggable: "false", class: `is-${holds}` });
    try {
      await picture.decode();
    } catch {
      if (url !== this.#wanted) return;
      if (holds === "frame") this.#unreadable();
      if (holds === "fallback" && url !== SHIPPED) this.#show(SHIPPED, holds, alt);
      return;
    }
    if (name) tiny.keep(name, picture);
    if (url !== this.#wanted) return;
    this.node.dataset.holds = holds;
    this.#place(picture);
    picture.getBoundingClientRect(); // The transition needs a first state to start from.
    picture.classList.add("is-in");
    if (holds === "frame") {
      this.node.disabled = false;
      this.node.setAttribute("aria-label", `Open ${this.label.toLowerCase()}: ${alt}`);
    }
  }

  #place(picture) {
    const before = this.#shown;
    this.#shown = picture;
    this.node.append(picture);
    if (before) setTimeout(() => before.remove(), stillness.matches ? 0 : FADE_MS);
  }

  #unreadable() {
    this.node.replaceChildren(el("span", { class: "paper-gone" }, "This frame is no longer here."));
    this.node.dataset.holds = "nothing";
  }
}
