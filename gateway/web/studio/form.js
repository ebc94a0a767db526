// The order form: reads it into a job, keeps the draft over a reload, and marks what was refused.
//
// The gateway knows the bounds and says what is wrong with which field; the form checks only what
// the gateway can't see: a number box that holds no number, and an empty prompt.

import { Problem, listModels, newKey, submitJob } from "/studio/api.js";
import { duration, sentence } from "/studio/words.js";

const NUMBERS = { width: "Width", height: "Height", steps: "Steps", seed: "Seed", step_ms: "Pace" };
const NAMES = {
  ...NUMBERS,
  prompt: "The prompt",
  n: "Frames",
  output_format: "Format",
  priority: "Priority",
  model: "The model",
};
const DRAFT = "framewire.draft";
const SEED_MAX = 2 ** 32;

export class OrderForm {
  #form;
  #button;
  #message;
  #key = null;
  #keyedBody = null;
  #hooks;

  /** Hooks: onAccepted(job), onRefused(order, error) where no field is to blame. */
  constructor(form, hooks) {
    this.#form = form;
    this.#hooks = hooks;
    this.#button = form.querySelector("#submit");
    this.#message = form.querySelector("#form-message");
    if (/Mac|iP(hone|ad)/.test(navigator.platform))
      form.querySelector("#meta-key").textContent = "⌘";
    this.#restore();
    this.#reflect();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("input", (event) => {
      if (event.target.name === "shape") this.#setSides(event.target);
      if (event.target.name === "model")
        this.#setSides({ value: event.target.selectedOptions[0].dataset.size });
      this.#mark(event.target.name, null);
      this.#reflect();
      this.#keep();
    });
    form.elements.prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    this.#offerModels();
    form.querySelector("#dice").addEventListener("click", () => {
      this.fill({ seed: crypto.getRandomValues(new Uint32Array(1))[0] % SEED_MAX });
    });
  }

  /** Puts values into the form, as from a frame whose prompt and seed are wanted again. */
  fill(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = this.#form.elements[name];
      if (field && value !== null && value !== undefined) field.value = value;
      this.#mark(name, null);
    }
    this.#reflect();
    this.#keep();
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
    if (this.#button.getAttribute("aria-disabled") === "true") return;
    this.#say("");
    // The same order keeps its key until it is answered: pressing again after an outage can't double it.
    const body = JSON.stringify(order);
    if (body !== this.#keyedBody) [this.#key, this.#keyedBody] = [newKey(), body];
    this.#busy(true);
    try {
      const job = await submitJob(order, this.#key, (ms) =>
        this.#say(`The gateway doesn't answer. Trying again in ${duration(Math.max(1000, ms))}…`),
      );
      this.#keyedBody = null;
      this.#say("");
      this.#hooks.onAccepted(job);
    } catch (error) {
      this.#refused(order, error);
    } finally {
      this.#busy(false);
    }
  }

  /** Gives the order, or null after marking what is missing. */
  #read() {
    const fields = this.#form.elements;
    const input = {
      prompt: fields.prompt.value.trim(),
      n: Number(fields.n.value),
      output_format: fields.output_format.value,
    };
    const faults = [];
    if (!input.prompt) faults.push(["prompt", "Describe a picture first."]);
    for (const [name, label] of Object.entries(NUMBERS)) {
      const { value, validity } = fields[name];
      if (name === "seed" && value === "" && !validity.badInput) continue;
      if (value === "" || !Number.isInteger(Number(value)))
        faults.push([name, `${label} must be a whole number.`]);
      else input[name] = Number(value);
    }
    for (const name of Object.keys(NAMES)) this.#mark(name, null);
    if (faults.length) return void this.#markAll(faults);
    return { model: fields.model.value || undefined, input, priority: fields.priority.value };
  }

  #refused(order, error) {
    this.#say("");
    const faults = (error instanceof Problem ? error.fields : [])
      .map(({ pointer, detail }) => [pointer.split("/").pop(), detail])
      .filter(([name]) => name in NAMES)
      .map(([name, detail]) => [
        name,
        sentence(/^[a-z]/.test(detail) ? `${NAMES[name]} ${detail}` : detail),
      ]);
    if (error instanceof Problem) this.#keyedBody = null;
    if (faults.length) return this.#markAll(faults);
    this.#hooks.onRefused(order, error);
  }

  #markAll(faults) {
    for (const [name, text] of faults) this.#mark(name, text);
    const first = this.#form.elements[faults[0][0]];
    const field = first instanceof RadioNodeList ? first[0] : first;
    field.closest("details")?.setAttribute("open", "");
    field.focus();
  }

  #mark(name, text) {
    const slot = this.#form.querySelector(`[data-fault="${CSS.escape(name)}"]`);
    if (!slot) return;
    const field = this.#form.elements[name];
    slot.textContent = text ?? "";
    for (const node of field instanceof RadioNodeList ? field : [field]) {
      if (text) node.setAttribute("aria-invalid", "true");
      else node.removeAttribute("aria-invalid");
    }
  }

  /** Lets the user choose where there is a choice; without one the gateway's default is meant. */
  async #offerModels() {
    const { data = [] } = (await listModels().catch(() => null)) ?? {};
    if (data.length < 2) return;
    const options = data.map(({ id, default: chosen, abilities }) => {
      const option = new Option(id, id, chosen, chosen);
      option.dataset.size = abilities.size_default.join("x");
      return option;
    });
    this.#form.elements.model.replaceChildren(...options);
    this.#form.querySelector("#model-row").hidden = false;
  }

  #setSides({ value }) {
    const [width, height] = value.split("x");
    this.#form.elements.width.value = width;
    this.#form.elements.height.value = height;
    this.#mark("width", null);
    this.#mark("height", null);
  }

  /** Shows what follows from the fields: the preset that fits, and the sliders' readings. */
  #reflect() {
    const { width, height, shape, steps, step_ms } = this.#form.elements;
    for (const radio of shape) radio.checked = radio.value === `${width.value}x${height.value}`;
    this.#form.querySelector("#steps-reading").textContent = steps.value;
    this.#form.querySelector("#pace-reading").textContent = `${step_ms.value} ms`;
    for (const slider of [steps, step_ms]) {
      slider.style.setProperty("--at", (slider.value - slider.min) / (slider.max - slider.min));
    }
  }

  #busy(busy) {
    this.#button.setAttribute("aria-disabled", String(busy));
    this.#button.querySelector("span").textContent = busy ? "Sending…" : "Develop";
  }

  #say(text) {
    this.#message.textContent = text;
  }

  #keep() {
    const draft = Object.fromEntries(new FormData(this.#form));
    try {
      sessionStorage.setItem(DRAFT, JSON.stringify(draft));
    } catch {
      // Without storage the draft lives as long as the page.
    }
  }

  #restore() {
    try {
      const draft = JSON.parse(sessionStorage.getItem(DRAFT) ?? "{}");
      for (const [name, value] of Object.entries(draft)) {
        if (this.#form.elements[name]) this.#form.elements[name].value = value;
      }
    } catch {
      // A draft that can't be read is no draft.
    }
  }
}
