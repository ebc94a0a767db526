// An order that was not accepted: what it was, why, when to try again, and something to look at.
//
// It is no job: the gateway knows nothing of it. There is one at a time, the newest; it goes when
// it is dismissed or when any order is accepted.

import { el, setRatio, setText } from "/studio/dom.js";
import { Paper, SHIPPED } from "/studio/paper.js";
import * as words from "/studio/words.js";

export class Refusal {
  #paper = new Paper("Nothing was drawn", () => {});
  #again_at = 0;

  /** `acts`: send(order), dismiss(). */
  constructor(order, acts) {
    this.order = order;
    const { prompt, width, height } = order.input;
    this.where = el("span");
    this.note = el("p", { class: "note" });
    const button = (text, act, extra = "") =>
      el("button", { type: "button", class: `quiet ${extra}`, onclick: act }, text);
    this.retry = button("Try again", () => this.#send(acts), "is-strong");
    const facts = words
      .facts(order)
      .map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v)));
    this.node = el(
      "article",
      { class: "card", "aria-labelledby": "refused", "data-status": "refused", tabindex: "-1" },
      el(
        "div",
        { class: "card-picture" },
        el("div", { class: "sheet" }, this.#paper.node),
        el("div", { class: "ruler", "aria-hidden": "true" }),
        el("p", { class: "card-reading" }, this.where),
      ),
      el(
        "div",
        { class: "card-words" },
        el("p", { class: "status" }, "Not accepted"),
        el("h3", { class: "card-prompt", id: "refused" }, words.clip(prompt, 400)),
        el("dl", { class: "facts" }, ...facts),
        this.note,
        el("div", { class: "actions" }, this.retry, button("Dismiss", acts.dismiss)),
      ),
    );
    setRatio(this.node, width, height);
    this.node.style.setProperty("--columns", "1");
    this.node.style.setProperty("--rows", "1");
  }

  /** Says why; the same order may be refused again. */
  update(error) {
    this.#again_at = error.retryAfterMs ? Date.now() + error.retryAfterMs : 0;
    this.#paper.fallback(error.fallback?.url ?? SHIPPED, true);
    setText(this.note, words.refusal(error));
    this.tick(Date.now());
  }

  /** Renews what changes by the clock alone. */
  tick(now) {
    setText(this.where, words.again(this.#again_at, now));
  }

  /** Not `disabled`: a disabled button drops the focus. */
  async #send({ send }) {
    if (this.retry.getAttribute("aria-disabled") === "true") return;
    this.retry.setAttribute("aria-disabled", "true");
    await send(this.order);
    this.retry.setAttribute("aria-disabled", "false");
  }
}
