// One sheet of paper on which a frame develops: what stands in for it, then preview after preview,
// then the frame.
//
// A picture is shown only once it is decoded, above the one before it, so nothing flashes and
// nothing moves; the sheet's size comes from the job. The haze is driven by real steps.

import { el, stillness } from "/studio/dom.js";

const FADE_MS = 900; // As long as the transition in studio.css.

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

  preview(url) {
    if (this.node.dataset.holds !== "frame") this.#show(url, "preview", "");
  }

  frame(frame, prompt) {
    this.develop(1);
    this.#show(frame.url, "frame", prompt);
  }

  async #show(url, holds, alt) {
    if (url === this.#wanted) return;
    this.#wanted = url;
    const picture = el("img", { src: url, alt, draggable: "false", class: `is-${holds}` });
    try {
      await picture.decode();
    } catch {
      if (url !== this.#wanted) return;
      if (holds === "frame") this.#unreadable();
      if (holds === "fallback" && url !== SHIPPED) this.#show(SHIPPED, holds, alt);
      return;
    }
    if (url !== this.#wanted) return;
    const before = this.#shown;
    this.#shown = picture;
    this.node.append(picture);
    this.node.dataset.holds = holds;
    picture.getBoundingClientRect(); // The transition needs a first state to start from.
    picture.classList.add("is-in");
    if (before) setTimeout(() => before.remove(), stillness.matches ? 0 : FADE_MS);
    if (holds === "frame") {
      this.node.disabled = false;
      this.node.setAttribute("aria-label", `Open ${this.label.toLowerCase()}: ${alt}`);
    }
  }

  #unreadable() {
    this.node.replaceChildren(el("span", { class: "paper-gone" }, "This frame is no longer here."));
    this.node.dataset.holds = "nothing";
  }
}
