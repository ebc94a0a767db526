// The same prompt from several seeds, side by side or one laid over the other.
//
// Every frame of the session that differs in nothing but its seed belongs here, as it develops too;
// more seeds can be ordered on the spot, and the one that is best goes back into the form.

import {
  button,
  el,
  iconButton,
  isBusy,
  lightDismiss,
  setBusy,
  setRatio,
  setText,
} from "/studio/dom.js";
import { Paper, SHIPPED } from "/studio/paper.js";
import { inOrder } from "/studio/shelf.js";
import { clip, count, hasEnded } from "/studio/words.js";

/** Seeds that one press orders. */
const MORE = 2;
/** Members of an input that make a different picture of the same seed. */
const SAME = ["prompt", "negative_prompt", "width", "height", "steps", "image", "mask", "strength"];

export class Compare {
  #shelf;
  #acts;
  #like = null;
  #frames = new Map();
  #pair = { a: null, b: null };

  /** `acts`: lock(job, seed), order(order), open(job, index), explain(error). */
  constructor(shelf, acts) {
    this.#shelf = shelf;
    this.#acts = acts;
    this.#build();
  }

  #build() {
    const view = (value, text, checked) =>
      el(
        "label",
        {},
        el("input", {
          type: "radio",
          name: "compare-view",
          value,
          checked,
          onchange: () => (this.node.dataset.view = value),
        }),
        el("span", {}, text),
      );
    this.prompt = el("p", { class: "compare-prompt" });
    this.counter = el("p", { class: "hint" });
    this.grid = el("div", { class: "compare-grid" });
    this.a = el("img", { class: "ab-a", alt: "" });
    this.b = el("img", { class: "ab-b", alt: "" });
    this.cut = el("input", {
      type: "range",
      min: "0",
      max: "100",
      value: "50",
      "aria-label": "How much of A is seen",
      oninput: () => this.stage.style.setProperty("--cut", `${this.cut.value}%`),
    });
    this.stage = el(
      "div",
      { class: "ab" },
      this.a,
      this.b,
      el("i", { class: "ab-line" }),
      this.cut,
    );
    this.pairWords = el("p", { class: "ab-words" });
    this.more = button(`Draw ${MORE} more seeds`, () => this.#more(), { class: "primary" });
    this.fault = el("p", { class: "fault", role: "alert" });
    this.node = el(
      "dialog",
      { class: "compare", id: "compare", "aria-labelledby": "compare-title", "data-view": "grid" },
      el(
        "div",
        { class: "dialog-head" },
        el("h2", { id: "compare-title", class: "dialog-title" }, "Compare seeds"),
        el(
          "div",
          { class: "choice", role: "radiogroup", "aria-label": "View" },
          view("grid", "Grid", true),
          view("slider", "A | B", false),
        ),
        iconButton("close", "Close", () => this.node.close()),
      ),
      this.prompt,
      this.grid,
      el("div", { class: "ab-box" }, this.stage, this.pairWords),
      el("div", { class: "compare-foot" }, this.more, this.counter, this.fault),
    );
    lightDismiss(this.node);
    this.node.addEventListener("close", () => (this.#like = null));
    document.body.append(this.node);
  }

  /** Opens it with everything that is like a job. */
  open(job) {
    this.#like = job;
    this.#frames.clear();
    this.#pair = { a: null, b: null };
    this.grid.replaceChildren();
    setText(this.prompt, clip(job.input.prompt, 300));
    setText(this.fault, "");
    setRatio(this.node, job.input.width, job.input.height);
    for (const other of this.#shelf.all().reverse()) this.show(other);
    this.node.showModal();
  }

  show(job, before) {
    if (!this.#like || !isLike(job, this.#like)) return;
    if (before && before.id !== job.id) this.#rename(before, job);
    for (let index = 0; index < (job.input.n ?? 1); index++) {
      const frame = job.frames.find((candidate) => candidate.index === index);
      const known = this.#frames.get(`${job.id}/${index}`);
      if (!frame && hasEnded(job)) {
        known?.node.remove();
        this.#frames.delete(`${job.id}/${index}`);
      } else this.#update(known ?? this.#add(job, index), job, frame);
    }
    this.#settle();
  }

  remove(job) {
    if (!this.#like) return;
    if (job.id === this.#like.id) return this.node.close();
    for (const [name, { node }] of this.#frames) {
      if (!name.startsWith(`${job.id}/`)) continue;
      node.remove();
      this.#frames.delete(name);
    }
    this.#settle();
  }

  #rename(from, to) {
    for (let index = 0; index < (from.input.n ?? 1); index++) {
      const entry = this.#frames.get(`${from.id}/${index}`);
      this.#frames.delete(`${from.id}/${index}`);
      if (entry) this.#frames.set(`${to.id}/${index}`, entry);
    }
  }

  #add(job, index) {
    const entry = { job, index, frame: null };
    entry.paper = new Paper("Frame", () => this.#acts.open(entry.job, index));
    entry.seed = el("span", { class: "compare-seed" }, "…");
    const side = (name) =>
      button(name.toUpperCase(), () => this.#choose(name, entry), {
        class: "side",
        "aria-pressed": "false",
      });
    entry.sides = { a: side("a"), b: side("b") };
    entry.lock = button("Lock seed", () => {
      this.node.close();
      this.#acts.lock(entry.job, entry.frame.seed);
    });
    entry.node = el(
      "figure",
      { class: "compare-frame" },
      entry.paper.node,
      el("figcaption", {}, entry.seed, entry.sides.a, entry.sides.b, entry.lock),
    );
    const after = [...this.#frames.values()].find(
      (other) => inOrder(other.job, job) < 0 || (other.job.id === job.id && other.index > index),
    );
    this.#frames.set(`${job.id}/${index}`, entry);
    this.grid.insertBefore(entry.node, after?.node ?? null);
    return entry;
  }

  #update(entry, job, frame) {
    Object.assign(entry, { job, frame: frame ?? null });
    const name = `${job.id}/${entry.index}`;
    entry.node.dataset.status = job.status;
    for (const node of [entry.sides.a, entry.sides.b, entry.lock]) setBusy(node, !frame);
    if (frame) {
      setText(entry.seed, String(frame.seed));
      for (const [side, node] of Object.entries(entry.sides)) {
        node.setAttribute("aria-label", `Show seed ${frame.seed} as ${side.toUpperCase()}`);
      }
      entry.lock.setAttribute("aria-label", `Lock seed ${frame.seed}`);
      entry.paper.frame(frame, `seed ${frame.seed}`, name);
      return;
    }
    const { step = 0, steps = 0 } = job.progress ?? {};
    entry.paper.develop(step / (steps / (job.input.n ?? 1) || 1) - entry.index);
    if (job.preview?.index === entry.index) entry.paper.preview(job.preview.url, name);
    if (!job.isOrder) entry.paper.fallback(job.fallback?.url ?? SHIPPED, false);
  }

  #choose(side, entry) {
    if (!entry.frame) return;
    this.#pair[side] = entry;
    this.#settle();
  }

  /** Keeps the pair true: what is chosen, else the newest two. */
  #settle() {
    const ready = [...this.#frames.values()].filter(({ frame }) => frame);
    const { a, b } = this.#pair;
    this.#pair.a = ready.includes(a) ? a : (ready.find((entry) => entry !== b) ?? null);
    this.#pair.b = ready.includes(b)
      ? b
      : (ready.findLast((entry) => entry !== this.#pair.a) ?? null);
    for (const entry of this.#frames.values()) {
      for (const [side, node] of Object.entries(entry.sides)) {
        node.setAttribute("aria-pressed", String(this.#pair[side] === entry));
      }
    }
    for (const side of ["a", "b"]) {
      const frame = this.#pair[side]?.frame;
      if (frame && this[side].getAttribute("src") !== frame.url) this[side].src = frame.url;
      this[side].hidden = !frame;
      this[side].alt = frame ? `${side.toUpperCase()}: seed ${frame.seed}` : "";
    }
    const seed = (side) => this.#pair[side]?.frame.seed ?? "nothing yet";
    setText(this.pairWords, `A: ${seed("a")} · B: ${seed("b")}`);
    setText(this.counter, `${count(ready.length, "seed")} so far`);
  }

  async #more() {
    if (isBusy(this.more)) return;
    setBusy(this.more, true);
    setText(this.fault, "");
    const { model, input, priority } = this.#like;
    // Without a seed the gateway draws one.
    const { seed: _, ...same } = input;
    try {
      await this.#acts.order({ model, input: { ...same, n: MORE }, priority });
    } catch (error) {
      setText(this.fault, this.#acts.explain(error));
    } finally {
      setBusy(this.more, false);
    }
  }
}

const isLike = (a, b) =>
  (a.model ?? b.model) === (b.model ?? a.model) &&
  SAME.every((name) => (a.input[name] ?? null) === (b.input[name] ?? null));
