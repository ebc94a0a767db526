// The form's fields: what the chosen model can do decides which of them there are.
//
// The gateway knows every bound and says what is wrong with which field; here only those are hidden
// that would mean nothing. A hidden field is not sent.

import { find } from "/studio/dom.js";

export const NUMBERS = {
  width: "Width",
  height: "Height",
  steps: "Steps",
  seed: "Seed",
  step_ms: "Pace",
};

/** Ours, as long as nobody says otherwise: all that the built-in provider can do. */
const ALL = {
  sizes: { multiples_of: 8 },
  n_max: 4,
  negative_prompt: true,
  steps: true,
  seed: true,
  image: true,
  mask: true,
};
/** The only one that can be told how fast to draw. */
const BUILTIN = "builtin";

export class Fields {
  #form;
  #models = [];
  #onChange;
  abilities = ALL;

  constructor(form, onChange) {
    this.#form = form;
    this.#onChange = onChange;
    form.addEventListener("input", ({ target }) => {
      if (target.name === "shape" || target.name === "only") this.setSides(target.value);
      if (target.name === "model") this.choose(target.value);
      if (target.name !== "model") this.reflect();
    });
    this.reflect();
  }

  /** Offers the models; a single one is no choice. */
  offer(models, wanted) {
    this.#models = models;
    const options = models.map(({ id, default: chosen }) => new Option(id, id, chosen, chosen));
    this.#form.elements.model.replaceChildren(...options);
    find("model-row").hidden = models.length < 2;
    if (models.some(({ id }) => id === wanted)) this.#form.elements.model.value = wanted;
    const { width, height } = this.#form.elements;
    this.choose(this.#form.elements.model.value, `${width.value}x${height.value}`);
  }

  /** Takes a model, and a size if it draws that. */
  choose(id, wanted) {
    const model = this.#models.find((other) => other.id === id);
    if (!model) return;
    const { abilities } = model;
    this.abilities = abilities;
    const hide = (row, is) => (find(row).hidden = is);
    const only = abilities.sizes.only?.map((size) => size.join("x"));
    hide("shape-row", Boolean(only));
    hide("sides-row", Boolean(only));
    hide("only-row", !only);
    hide("steps-row", !abilities.steps);
    hide("seed-row", !abilities.seed);
    hide("negative-row", !abilities.negative_prompt);
    hide("pace-row", id !== BUILTIN);
    hide("source", !abilities.image);
    hide("n-row", abilities.n_max < 2);
    for (const radio of this.#form.elements.n) {
      radio.closest("label").hidden = Number(radio.value) > abilities.n_max;
      if (radio.checked && Number(radio.value) > abilities.n_max) this.#form.elements.n.value = "1";
    }
    const size = abilities.size_default?.join("x") ?? "512x512";
    if (only) {
      const names = only.map((size) => new Option(size.replace("x", " × "), size));
      this.#form.elements.only.replaceChildren(...names);
    } else {
      const { multiples_of: step = 8, side_max: max = 2048 } = abilities.sizes;
      for (const name of ["width", "height"])
        Object.assign(this.#form.elements[name], { step, max });
    }
    const fits = wanted && (!only || only.includes(wanted));
    this.setSides(fits ? wanted : size);
    this.#onChange(abilities);
  }

  /** Gives what is chosen as a job's input, and the faults of what can't be sent. */
  read() {
    const fields = this.#form.elements;
    const { abilities } = this;
    const input = { prompt: fields.prompt.value.trim(), n: Number(fields.n.value) };
    const negative = fields.negative_prompt.value.trim();
    if (abilities.negative_prompt && negative) input.negative_prompt = negative;
    input.output_format = fields.output_format.value;
    const faults = [];
    if (!input.prompt) faults.push(["prompt", "Describe a picture first."]);
    for (const [name, label] of Object.entries(NUMBERS)) {
      const { value, validity } = fields[name];
      if (abilities[name] === false || (name === "step_ms" && find("pace-row").hidden)) continue;
      if (name === "seed" && value === "" && !validity.badInput) continue;
      if (value === "" || !Number.isInteger(Number(value))) {
        faults.push([name, `${label} must be a whole number.`]);
      } else input[name] = Number(value);
    }
    return { input, faults };
  }

  setSides(size) {
    const [width, height] = size.split("x");
    this.#form.elements.width.value = width;
    this.#form.elements.height.value = height;
    this.reflect();
  }

  /** Takes the size nearest to a picture's own proportions that the model draws. */
  setRatioOf(width, height) {
    const { only, multiples_of: step = 8 } = this.abilities.sizes;
    const off = ([w, h]) => Math.abs(Math.log(w / h / (width / height)));
    if (only) return this.setSides([...only].sort((a, b) => off(a) - off(b))[0].join("x"));
    // As large as ours, so that a photograph does not make a job of many megapixels.
    const scale = Math.min(1, 768 / Math.max(width, height));
    const side = (px) => Math.max(64, Math.round((px * scale) / step) * step);
    this.setSides(`${side(width)}x${side(height)}`);
  }

  /** Shows what follows from the fields: the preset that fits, and the sliders' readings. */
  reflect() {
    const { width, height, shape, only, steps, step_ms, strength } = this.#form.elements;
    const size = `${width.value}x${height.value}`;
    for (const radio of shape) radio.checked = radio.value === size;
    only.value = size;
    find("steps-reading").textContent = steps.value;
    find("pace-reading").textContent = `${step_ms.value} ms`;
    find("strength-reading").textContent = `${strength.value} %`;
    for (const slider of [steps, step_ms, strength]) {
      slider.style.setProperty("--at", (slider.value - slider.min) / (slider.max - slider.min));
    }
  }
}
