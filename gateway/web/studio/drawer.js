// "What just happened": the stream's own words in a drawer beside the page, as they come.
//
// Only the rows in sight exist, each of one height, however many entries there are; the page looks
// once a frame and only while the drawer is open. The list follows the newest entry until the
// reader scrolls up.

import { copy } from "/studio/copy.js";
import { announce, button, el, find, iconButton, setText } from "/studio/dom.js";
import { asLines, summary } from "/studio/log.js";
import { clip, count, duration } from "/studio/words.js";

/** Height of a row; drawer.css says the same. */
const ROW_PX = 26;
/** Rows beyond either edge, so that a fast scroll shows no holes. */
const SPARE_ROWS = 8;

export class Drawer {
  #log;
  #promptOf;
  #entries = [];
  #chosen = null;
  #follows = true;
  #isDue = false;
  #jobs = "";
  #opener = null;

  /** `promptOf(id)` gives a job's prompt, where it is known. */
  constructor(log, promptOf) {
    this.#log = log;
    this.#promptOf = promptOf;
    this.#build();
    log.onChange(() => this.#later());
    find("events").addEventListener("click", () => this.toggle());
  }

  toggle() {
    if (this.node.hidden) this.open();
    else this.#close();
  }

  /** Opens it, for one job where one is named. */
  open(job = "") {
    this.#opener = document.activeElement;
    this.node.hidden = false;
    document.body.dataset.drawer = "";
    find("events").setAttribute("aria-expanded", "true");
    this.#listJobs(job);
    this.job.value = job;
    this.#follows = true;
    this.#look();
    this.list.focus({ preventScroll: true });
  }

  #close() {
    this.node.hidden = true;
    delete document.body.dataset.drawer;
    find("events").setAttribute("aria-expanded", "false");
    this.#opener?.focus();
  }

  #build() {
    const label = (text, node) => el("label", { class: "drawer-choice" }, text, node);
    this.job = el("select", { "aria-label": "Job", onchange: () => this.#look() });
    this.passing = el("input", { type: "checkbox", checked: true, onchange: () => this.#look() });
    this.rows = el("div", { class: "rows", role: "presentation" });
    this.list = el(
      "div",
      {
        class: "log",
        role: "listbox",
        tabindex: "0",
        "aria-label": "Events",
        onscroll: () => this.#scrolled(),
        onkeydown: (event) => this.#key(event),
        onclick: (event) => this.#pressed(event),
      },
      this.rows,
    );
    this.counter = el("p", { class: "drawer-count" });
    this.detail = el("pre", { class: "detail", tabindex: "0", "aria-label": "The event" });
    const copyAll = () => copy(asLines(this.#entries), count(this.#entries.length, "event"));
    this.node = el(
      "aside",
      { class: "drawer", id: "drawer", "aria-labelledby": "drawer-title", hidden: true },
      el(
        "div",
        { class: "drawer-head" },
        el("h2", { id: "drawer-title" }, "What just happened"),
        this.counter,
        iconButton("close", "Close the events", () => this.#close()),
      ),
      el("div", { class: "drawer-tools" }, this.job, label("Steps and pings", this.passing)),
      this.list,
      this.detail,
      el(
        "div",
        { class: "drawer-foot" },
        button("Copy", copyAll),
        button("Clear", () => this.#log.clear()),
      ),
    );
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
    document.body.append(this.node);
  }

  /** Looks at the next frame of the screen, however many entries come before it. */
  #later() {
    if (this.#isDue || this.node.hidden) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#look();
    });
  }

  #look() {
    this.#listJobs(this.job.value);
    const before = this.#entries;
    this.#entries = this.#log.entries({ job: this.job.value, passing: this.passing.checked });
    // Rows that went at the top are scrolled away too, so that the reader's own stay where they
    // are.
    const first = this.#entries[0]?.number ?? Infinity;
    const gone = before.filter(({ number }) => number < first).length;
    setText(this.counter, count(this.#entries.length, "event"));
    this.rows.style.setProperty("height", `${this.#entries.length * ROW_PX}px`);
    if (this.#follows) this.list.scrollTop = this.list.scrollHeight;
    else if (gone) this.list.scrollTop -= gone * ROW_PX;
    this.#draw();
    if (!this.#chosen) setText(this.detail, "Choose an event to read all of it.");
  }

  #scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.list;
    this.#follows = scrollHeight - scrollTop - clientHeight < 2 * ROW_PX;
    this.#draw();
  }

  #draw() {
    const { scrollTop, clientHeight } = this.list;
    const from = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE_ROWS);
    const to = Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE_ROWS;
    const shown = this.#entries.slice(from, to);
    const old = new Map([...this.rows.children].map((row) => [row.id, row]));
    const rows = shown.map((entry, at) => {
      const row = old.get(`event-${entry.number}`) ?? rowOf(entry);
      row.style.setProperty("transform", `translateY(${(from + at) * ROW_PX}px)`);
      row.setAttribute("aria-posinset", String(from + at + 1));
      row.setAttribute("aria-setsize", String(this.#entries.length));
      row.setAttribute("aria-selected", String(entry.number === this.#chosen));
      return row;
    });
    this.rows.replaceChildren(...rows);
    const isThere = this.rows.querySelector(`#event-${this.#chosen}`);
    if (isThere) this.list.setAttribute("aria-activedescendant", isThere.id);
    else this.list.removeAttribute("aria-activedescendant");
  }

  #pressed(event) {
    const row = event.target.closest(".event");
    if (row) this.#choose(this.#entries.findIndex(({ number }) => row.id === `event-${number}`));
  }

  #key(event) {
    const at = this.#entries.findIndex(({ number }) => number === this.#chosen);
    const last = this.#entries.length - 1;
    const page = Math.max(1, Math.floor(this.list.clientHeight / ROW_PX) - 1);
    const from = at < 0 ? last + 1 : at;
    const moves = { ArrowUp: from - 1, ArrowDown: from + 1, Home: 0, End: last };
    const to = { ...moves, PageUp: from - page, PageDown: from + page }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#choose(Math.min(last, Math.max(0, to)));
  }

  #choose(at) {
    const entry = this.#entries[at];
    if (!entry) return;
    this.#chosen = entry.number;
    this.#follows = false;
    const top = at * ROW_PX;
    const { scrollTop, clientHeight } = this.list;
    if (top < scrollTop) this.list.scrollTop = top;
    if (top + ROW_PX > scrollTop + clientHeight) this.list.scrollTop = top + ROW_PX - clientHeight;
    const { at: time, gap_ms, type, id, data } = entry;
    const head = { event: type, id, at: new Date(time).toISOString(), gap_ms };
    setText(this.detail, JSON.stringify({ ...head, data }, null, 2));
    this.#draw();
    announce(`${type} ${summary(entry)}`);
  }

  #listJobs(wanted) {
    const ids = this.#log.jobs();
    if (wanted && !ids.includes(wanted)) ids.push(wanted);
    if (ids.join() === this.#jobs) return;
    this.#jobs = ids.join();
    const value = this.job.value;
    const name = (id) => `${clip(this.#promptOf(id) ?? "a job", 32)} (${id.slice(-6)})`;
    this.job.replaceChildren(
      new Option("All jobs", ""),
      ...ids.map((id) => new Option(name(id), id)),
    );
    this.job.value = value;
  }
}

function rowOf(entry) {
  const { number, at, gap_ms, type, id } = entry;
  const time = new Date(at).toTimeString().slice(0, 8);
  const ms = String(at % 1000).padStart(3, "0");
  return el(
    "div",
    { class: "event", id: `event-${number}`, role: "option", "data-type": type },
    el("span", { class: "event-at" }, `${time}.${ms}`),
    el("span", { class: "event-gap" }, gap_ms ? `+${gap(gap_ms)}` : ""),
    el("span", { class: "event-type" }, type),
    el("span", { class: "event-said" }, summary(entry)),
    el("span", { class: "event-id" }, id ?? ""),
  );
}

const gap = (ms) => (ms < 1000 ? `${ms} ms` : duration(ms));
