// The larger view: one frame in a <dialog>, with what it was made from and what to do with it.
//
// The dialog element brings the focus trap, Escape and the return of focus; arrow keys turn the page.

import { el, setRatio } from "/studio/dom.js";
import { formatName, size } from "/studio/words.js";

export class Viewer {
  #dialog;
  #at = null;
  #entries;

  /** `entries()` gives all frames in order; `reuse(entry)` puts one back into the form. */
  constructor(dialog, entries, reuse) {
    this.#dialog = dialog;
    this.#entries = entries;
    const on = (id, act) => dialog.querySelector(id).addEventListener("click", act);
    on("#view-close", () => dialog.close());
    on("#view-newer", () => this.#turn(-1));
    on("#view-older", () => this.#turn(1));
    on("#view-reuse", () => {
      dialog.close();
      reuse(this.#at);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#turn(-1);
      if (event.key === "ArrowRight") this.#turn(1);
    });
  }

  open(entry) {
    this.#show(entry);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #turn(by) {
    const next = this.#neighbour(by);
    if (next) this.#show(next);
  }

  #neighbour(by) {
    const entries = this.#entries();
    return entries[entries.findIndex((entry) => same(entry, this.#at)) + by];
  }

  #show(entry) {
    this.#at = entry;
    const { job, frame } = entry;
    const find = (id) => this.#dialog.querySelector(id);
    const frameBox = find("#view-frame");
    setRatio(frameBox, frame.width, frame.height);
    frameBox.replaceChildren(
      el("img", {
        src: frame.url,
        alt: job.input.prompt,
        width: frame.width,
        height: frame.height,
      }),
    );
    find("#view-prompt").textContent = job.input.prompt;
    const facts = [
      ["Seed", String(frame.seed)],
      ["Size", `${frame.width} × ${frame.height}`],
      ["Steps", String(job.input.steps)],
      ["File", `${formatName(frame.content_type.split("/")[1])}, ${size(frame.bytes)}`],
    ];
    find("#view-facts").replaceChildren(
      ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
    const download = find("#view-download");
    download.href = frame.url;
    download.download = `framewire-${frame.seed}.${frame.content_type.split("/")[1].replace("jpeg", "jpg")}`;
    find("#view-newer").disabled = !this.#neighbour(-1);
    find("#view-older").disabled = !this.#neighbour(1);
  }
}

const same = (a, b) => a.job.id === b?.job.id && a.frame.index === b?.frame.index;
