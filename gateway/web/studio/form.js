// The order form: reads it into an order, keeps the draft over a reload, and marks what was
// refused.
//
// The gateway knows the bounds and says what is wrong with which field; the form checks only what
// the gateway can't see: a number box that holds no number, and an empty prompt.

import { find, isBusy, setBusy, setText } from "/studio/dom.js";
import { Fields, NUMBERS } from "/studio/fields.js";
import { Source } from "/studio/source.js";
import { duration, sentence } from "/studio/words.js";

const NAMES = {
  ...NUMBERS,
  prompt: "The prompt",
  negative_prompt: "What to leave out",
  n: "Frames",
  output_format: "Format",
  priority: "Priority",
  model: "The model",
  image: "The picture",
  mask: "The mask",
  strength: "Strength",
};
const DRAFT = "framewire.draft";
const SEED_MAX = 2 ** 32;

export class OrderForm {
  #form = find("order");
  #button = find("submit");
  #message = find("form-message");
  #key = null;
  #keyedBody = null;
  #hooks;

  /** Hooks: send(order, key, onWait) → job, onRefused(order, error) where no field is to blame;
   *  `call` speaks to the gateway. */
  constructor(hooks, call) {
    this.#hooks = hooks;
    const form = this.#form;
    if (/Mac|iP(hone|ad)/.test(navigator.platform)) setText(find("meta-key"), "⌘");
    this.#restore();
    this.fields = new Fields(form, ({ mask }) => {
      this.source.canMask = mask === true;
      this.#keep();
    });
    this.source = new Source(call, {
      onSize: (width, height) => this.fields.setRatioOf(width, height),
      onChange: () => {
        for (const name of ["image", "mask"]) this.#mark(name, null);
        this.#keep();
      },
      onFault: (text) => this.#mark("image", text),
    });
    this.source.restore(this.#draft().source);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("input", (event) => {
      this.#mark(event.target.name, null);
      if (event.target.name === "shape") ["width", "height"].forEach((name) => this.#mark(name));
      this.#keep();
    });
    form.elements.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    find("dice").addEventListener("click", () => {
      this.fill({ seed: crypto.getRandomValues(new Uint32Array(1))[0] % SEED_MAX });
    });
  }

  /** Lets the user choose where there is a choice; without one the gateway's default is meant. */
  offer(models) {
    this.fields.offer(models, this.#draft().model);
  }

  /** Puts values into the form, as from a frame whose prompt and seed are wanted again. */
  fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.#form.elements[name];
      if (field && value !== null && value !== undefined) field.value = value;
      this.#mark(name, null);
    }
    if (values.model) this.fields.choose(values.model);
    this.fields.reflect();
    this.#keep();
  }

  /** Whether the model can start from a picture. */
  get canStart() {
    return this.fields.abilities.image === true;
  }

  focus() {
    this.#form.elements.prompt.focus();
  }

  #submit() {
    this.#say("");
    const order = this.#read();
    if (order) this.send(order);
  }

  /** Sends an order: the form's, or one that was refused before. */
  async send(order) {
    if (isBusy(this.#button)) return;
    this.#say("");
    // The same order keeps its key until it is answered: pressing again after an outage can't
    // double it.
    const body = JSON.stringify(order);
    if (body !== this.#keyedBody) [this.#key, this.#keyedBody] = [newKey(), body];
    this.#busy(true);
    try {
      await this.#hooks.send(order, this.#key, (ms) => this.#say(waiting(ms)));
      this.#keyedBody = null;
    } catch (error) {
      this.#refused(order, error);
    } finally {
      this.#say("");
      this.#busy(false);
    }
  }

  /** Gives the order, or null after marking what is missing. */
  #read() {
    const { model, priority } = this.#form.elements;
    const { input, faults } = this.fields.read();
    for (const name of Object.keys(NAMES)) this.#mark(name, null);
    if (this.source.isBusy) faults.push(["image", "The picture is still on its way."]);
    if (faults.length) return void this.#markAll(faults);
    if (this.fields.abilities.image) Object.assign(input, this.source.input);
    return { model: model.value || undefined, input, priority: priority.value };
  }

  #refused(order, error) {
    const faults = (error.fields ?? [])
      .map(({ pointer, detail }) => [pointer.split("/").pop(), detail])
      .filter(([name]) => name in NAMES)
      .map(([name, detail]) => [
        name,
        sentence(/^[a-z]/.test(detail) ? `${NAMES[name]} ${detail}` : detail),
      ]);
    if (error.status) this.#keyedBody = null;
    if (faults.length) return this.#markAll(faults);
    this.#hooks.onRefused(order, error);
  }

  #markAll(faults) {
    for (const [name, text] of faults) this.#mark(name, text);
    const first = this.#form.elements[faults[0][0]] ?? find("source-choose");
    const field = first instanceof RadioNodeList ? first[0] : first;
    field.closest("details")?.setAttribute("open", "");
    field.focus();
  }

  #mark(name, text) {
    const slot = this.#form.querySelector(`[data-fault="${CSS.escape(name)}"]`);
    if (!slot) return;
    const field = this.#form.elements[name];
    setText(slot, text ?? "");
    for (const node of field instanceof RadioNodeList ? field : [field]) {
      if (text) node?.setAttribute("aria-invalid", "true");
      else node?.removeAttribute("aria-invalid");
    }
  }

  #busy(busy) {
    setBusy(this.#button, busy);
    setText(this.#button.querySelector("span"), busy ? "Sending…" : "Develop");
  }

  #say(text) {
    setText(this.#message, text);
  }

  #keep() {
    const fields = Object.fromEntries(new FormData(this.#form));
    const draft = { ...fields, source: this.source?.saved ?? null };
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    } catch {
      // Without storage the draft lives as long as the page.
    }
  }

  #draft() {
    try {
      return JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
    } catch {
      return {}; // A draft that can't be read is no draft.
    }
  }

  #restore() {
    for (const [name, value] of Object.entries(this.#draft())) {
      if (this.#form.elements[name] && typeof value === "string") {
        this.#form.elements[name].value = value;
      }
    }
  }
}

/** crypto.randomUUID exists on https and localhost only; a studio is often opened by IP address. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function waiting(ms) {
  if (navigator.onLine === false) return "You are offline. It is sent when the network is back.";
  return `The gateway doesn't answer. Trying again in ${duration(Math.max(1000, ms))}…`;
}
