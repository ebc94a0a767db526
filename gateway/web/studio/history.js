// All jobs of the session, newest first, as rows of one height: what was asked for, what became of
// it, how often it was tried.
//
// A row is built once and only updated. Rows that are far away cost the browser nothing (CSS
// `content-visibility`).

import { el, iconButton, setText } from "/studio/dom.js";
import { inOrder } from "/studio/shelf.js";
import * as tiny from "/studio/tiny.js";
import * as words from "/studio/words.js";

export class History {
  #list;
  #count;
  #acts;
  #rows = new Map();
  #wanted = () => true;

  /** `acts`: show(job), menu(job, anchor). */
  constructor(list, counter, acts) {
    this.#list = list;
    this.#count = counter;
    this.#acts = acts;
  }

  /** Shows only the jobs that are wanted. */
  filter(wanted) {
    this.#wanted = wanted;
    for (const { job, node } of this.#rows.values()) node.hidden = !wanted(job);
    this.#settle();
  }

  show(job, before) {
    if (before && before.id !== job.id) {
      const row = this.#rows.get(before.id);
      this.#rows.delete(before.id);
      if (row) this.#rows.set(job.id, row);
    }
    const row = this.#rows.get(job.id) ?? this.#add(job);
    row.job = job;
    row.node.dataset.status = job.status;
    row.node.dataset.job = job.id;
    row.node.hidden = !this.#wanted(job);
    setText(row.prompt, words.clip(job.input.prompt, 160));
    setText(row.said, said(job));
    this.#picture(row, job);
    this.#settle();
  }

  remove(id) {
    this.#rows.get(id)?.node.remove();
    this.#rows.delete(id);
    this.#settle();
  }

  #add(job) {
    const picture = el("span", { class: "job-picture", "aria-hidden": "true" });
    const prompt = el("span", { class: "job-prompt" });
    const said = el("span", { class: "job-said" });
    const row = { job, picture, prompt, said };
    const open = el(
      "button",
      { type: "button", class: "job-open", onclick: () => this.#acts.show(row.job) },
      picture,
      el("span", { class: "job-words" }, prompt, said),
    );
    const menu = iconButton("more", "More to do with this job", () =>
      this.#acts.menu(row.job, menu),
    );
    const at = el("time", { class: "job-at", datetime: job.created_at });
    setText(at, words.moment(job.created_at));
    row.node = el("li", { class: "job" }, open, at, menu);
    const all = [...this.#rows.values()].sort((a, b) => inOrder(a.job, b.job));
    const after = all.find((other) => inOrder(job, other.job) < 0);
    this.#rows.set(job.id, row);
    this.#list.insertBefore(row.node, after?.node ?? null);
    return row;
  }

  #picture({ picture }, job) {
    const frame = job.frames[0];
    const small = tiny.of(`${job.id}/${frame?.index ?? 0}`);
    const src = frame?.url ?? small ?? "";
    if (picture.dataset.src === src) return;
    picture.dataset.src = src;
    if (!src) return void picture.replaceChildren();
    const image = el("img", { src, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.remove());
    picture.replaceChildren(image);
  }

  #settle() {
    const shown = [...this.#rows.values()].filter(({ node }) => !node.hidden).length;
    setText(this.#count, words.count(shown, "job"));
  }
}

/** A job in one line. */
function said(job) {
  const parts = [words.status(job)];
  if (job.status === "completed" && job.input.n > 1) parts.push(words.where(job));
  if (job.status === "failed") parts.push(words.clip(words.note(job), 80));
  if (words.tries(job)) parts.push(words.tries(job));
  if (job.timings) parts.push(words.duration(job.timings.total_ms));
  return parts.join(" · ");
}
