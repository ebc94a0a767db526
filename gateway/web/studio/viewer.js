// The larger view: one frame in a <dialog>, with what it was made from and what to do with it.
//
// The dialog element brings the focus trap, Escape and the return of focus; arrow keys turn the
// page.

import { el, find, lightDismiss, setFacts, setRatio, setText } from "/studio/dom.js";
import * as tiny from "/studio/tiny.js";
import { formatName, size } from "/studio/words.js";

export class Viewer {
  #dialog = find("view");
  #at = null;
  #entries;

  /** `entries()` gives all frames in order; `acts`: reuse(entry), start(entry), compare(entry),
   *  menu(job, anchor). */
  constructor(entries, acts) {
    this.#entries = entries;
    const on = (id, act) => find(id).addEventListener("click", act);
    const leaving = (act) => () => {
      this.#dialog.close();
      act(this.#at);
    };
    on("view-close", () => this.#dialog.close());
    on("view-newer", () => this.#turn(-1));
    on("view-older", () => this.#turn(1));
    on("view-reuse", leaving(acts.reuse));
    on("view-start", leaving(acts.start));
    on("view-compare", leaving(acts.compare));
    on("view-menu", () => acts.menu(this.#at.job, find("view-menu")));
    lightDismiss(this.#dialog);
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.#turn(-1);
      if (event.key === "ArrowRight") this.#turn(1);
    });
  }

  open(entry) {
    this.#show(entry);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** A job is gone, and so is what is shown of it. */
  forget(id) {
    if (this.#at?.job.id === id) this.#dialog.close();
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
    const box = find("view-frame");
    setRatio(box, frame.width, frame.height);
    const { width, height, url: src } = frame;
    const picture = el("img", { src, alt: job.input.prompt, width, height });
    const miniature = tiny.of(`${job.id}/${frame.index}`);
    box.replaceChildren(
      ...(miniature ? [el("img", { src: miniature, alt: "", class: "is-tiny" })] : []),
      picture,
    );
    setText(find("view-prompt"), job.input.prompt);
    setFacts(find("view-facts"), [
      ["Seed", String(frame.seed)],
      ["Size", `${width} × ${height}`],
      ["Steps", String(job.input.steps)],
      ["Model", job.model],
      ["File", `${formatName(frame.content_type.split("/")[1])}, ${size(frame.bytes)}`],
    ]);
    const download = find("view-download");
    download.href = frame.url;
    const ending = frame.content_type.split("/")[1].replace("jpeg", "jpg");
    download.download = `framewire-${frame.seed}.${ending}`;
    find("view-newer").disabled = !this.#neighbour(-1);
    find("view-older").disabled = !this.#neighbour(1);
  }
}

const same = (a, b) => a.job.id === b?.job.id && a.frame.index === b?.frame.index;
