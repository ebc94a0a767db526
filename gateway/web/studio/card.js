// One job on the board: its sheets of paper, its ruler of steps, and what can be done about it.
//
// A card is built once and then only updated, so focus, selection and transitions survive every
// event. A sheet without a frame shows what stands in for it; in a batch each sheet says what it
// holds. All words come from words.js; what the buttons do is handed in.

import {
  button,
  el,
  iconButton,
  isBusy,
  setBusy,
  setFacts,
  setRatio,
  setText,
} from "/studio/dom.js";
import { Paper, SHIPPED } from "/studio/paper.js";
import * as words from "/studio/words.js";

const TICKS_MAX = 60;

export class Card {
  #papers;
  #job = null;
  #acts;

  /** `acts`: cancel(job), retry(job), reuse(job), compare(job), dismiss(job), open(job, index),
   *  menu(job, anchor), explain(error). */
  constructor(job, acts) {
    this.#acts = acts;
    const { n = 1, prompt } = job.input;
    this.#papers = Array.from({ length: n }, (_, index) => {
      const label = n > 1 ? `Frame ${index + 1} of ${n}` : "Frame";
      const paper = new Paper(label, () => acts.open(this.#job, index));
      const caption = n > 1 ? el("figcaption", { class: "caption" }, String(index + 1)) : null;
      return { paper, caption, node: el("figure", {}, paper.node, caption) };
    });
    const id = `card-${job.id}`;
    this.sheet = el("div", { class: "sheet" }, ...this.#papers.map(({ node }) => node));
    this.fill = el("div", { class: "ruler-fill" });
    this.ruler = el(
      "div",
      { class: "ruler", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0" },
      this.fill,
    );
    this.where = el("span");
    this.time = el("span", { class: "card-time" });
    this.status = el("p", { class: "status" });
    this.note = el("p", { class: "note" });
    this.facts = el("dl", { class: "facts" });
    this.timings = el("p", { class: "timings" });
    this.buttons = {
      cancel: this.#button("Cancel", "cancel"),
      retry: this.#button("Retry", "retry", "is-strong"),
      compare: this.#button("Compare seeds", "compare"),
      reuse: this.#button("Use prompt and seed", "reuse"),
      dismiss: this.#button("Dismiss", "dismiss"),
    };
    this.menu = iconButton("more", "More to do with this job", () =>
      acts.menu(this.#job, this.menu),
    );
    this.actions = el("div", { class: "actions" }, ...Object.values(this.buttons));
    this.node = el(
      "article",
      { class: "card", "aria-labelledby": id, "data-job": job.id, tabindex: "-1" },
      el(
        "div",
        { class: "card-picture" },
        this.sheet,
        this.ruler,
        el("p", { class: "card-reading" }, this.where, this.time),
      ),
      el(
        "div",
        { class: "card-words" },
        el("div", { class: "card-head" }, this.status, this.menu),
        el("h3", { class: "card-prompt", id }, words.clip(prompt, 400)),
        this.facts,
        this.note,
        this.timings,
        this.actions,
      ),
    );
    this.#layOut(job.input);
    this.update(job);
  }

  get job() {
    return this.#job;
  }

  /** Two wide frames hang one above the other; everything else in two columns. */
  #layOut({ width, height }) {
    const n = this.#papers.length;
    const columns = n === 1 || (n === 2 && width > height) ? 1 : 2;
    setRatio(this.node, width, height);
    this.node.style.setProperty("--columns", String(columns));
    this.node.style.setProperty("--rows", String(Math.ceil(n / columns)));
  }

  update(job) {
    const before = this.#job;
    this.#job = job;
    this.node.dataset.job = job.id;
    this.node.dataset.status = job.status;
    this.#pictures(job, before);
    this.#progress(job);
    setText(this.status, [words.status(job), words.tries(job)].filter(Boolean).join(" · "));
    setText(this.note, words.note(job));
    this.tick(Date.now());
    setFacts(this.facts, words.facts(job));
    this.#offer(job);
  }

  /** Renews what changes by the clock alone. */
  tick(now) {
    setText(this.where, words.where(this.#job, now));
    setText(this.time, words.time(this.#job, now));
  }

  #pictures(job, before) {
    const startsOver = before && before.frames.length + Number(!!before.preview) > 0;
    if (job.status === "queued" && startsOver) this.#papers.forEach(({ paper }) => paper.clear());
    const { step = 0, steps = 0 } = job.progress ?? {};
    const each = steps / this.#papers.length || 1;
    const ended = words.hasEnded(job);
    this.#papers.forEach(({ paper, caption }, index) => {
      const name = `${job.id}/${index}`;
      const frame = job.frames.find((candidate) => candidate.index === index);
      const gap = job.missing?.find((candidate) => candidate.index === index);
      if (caption) setText(caption, captionOf(job, index, frame, gap));
      if (frame) return paper.frame(frame, job.input.prompt, name);
      if (!ended) paper.develop(step / each - index);
      if (!ended && job.preview?.index === index) paper.preview(job.preview.url, name);
      // What stands in for an order is not known before it is accepted.
      if (!job.isOrder) paper.fallback(job.fallback?.url ?? SHIPPED, ended);
      if (gap) paper.missing(words.missing(gap));
    });
  }

  /** By steps; by the fraction where a provider counts none. */
  #progress(job) {
    const { n = 1, steps: each } = job.input;
    const { step = 0, steps = each * n, fraction = 0 } = job.progress ?? {};
    const all = job.status === "completed" || job.status === "uploading";
    const most = steps || 100;
    const now = all ? most : steps ? step : Math.round(fraction * most);
    this.ruler.setAttribute("aria-valuemax", String(most));
    this.ruler.setAttribute("aria-valuenow", String(now));
    this.ruler.setAttribute("aria-valuetext", `${words.status(job)}. ${words.where(job)}`);
    this.ruler.style.setProperty("--ticks", String(most <= TICKS_MAX ? most : n));
    this.fill.style.setProperty("--done", (now / most).toFixed(4));
  }

  #offer(job) {
    const ended = words.hasEnded(job);
    const held = this.actions.contains(document.activeElement) && document.activeElement;
    const parts = words.timings(job).map(([ms, what]) => `${words.duration(ms)} ${what}`);
    if (job.cached) parts.push("from the cache");
    setText(this.timings, job.status === "completed" ? parts.join(" · ") : "");
    this.buttons.cancel.hidden = ended;
    setBusy(this.buttons.cancel, Boolean(job.cancel_requested || job.isOrder));
    this.buttons.retry.hidden = job.status !== "failed" && job.status !== "cancelled";
    this.buttons.compare.hidden = job.status !== "completed";
    this.buttons.reuse.hidden = !ended;
    this.buttons.dismiss.hidden = !ended || job.status === "completed";
    setBusy(this.menu, Boolean(job.isOrder));
    // The button that had the focus may have gone with the state; the card itself keeps the place.
    if (held && held.hidden) this.node.focus();
  }

  #button(text, act, extra = "") {
    const node = button(text, () => this.#act(node, act), { class: `quiet ${extra}` });
    return node;
  }

  async #act(node, act) {
    if (isBusy(node)) return;
    setBusy(node, true);
    try {
      await this.#acts[act](this.#job);
    } catch (error) {
      setText(this.note, this.#acts.explain(error));
    } finally {
      setBusy(node, act === "cancel" && Boolean(this.#job.cancel_requested));
    }
  }
}

/** What a frame of a batch has come to. */
function captionOf(job, index, frame, gap) {
  if (frame) return `${index + 1} · ${frame.seed}`;
  if (gap) return `${index + 1} · missing`;
  if (words.hasEnded(job)) return `${index + 1} · not drawn`;
  return job.preview?.index === index ? `${index + 1} · developing` : String(index + 1);
}
