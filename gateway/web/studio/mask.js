// The mask editor: a dialog in which the part of a picture that is to be drawn anew is painted
// over.
//
// Mouse, pen and finger paint through pointer events; the keyboard moves the brush with the arrow
// keys and paints while the space bar is down. What was painted is brush.js's to know.

import { Brush, fromWhite } from "/studio/brush.js";
import { button, el, iconButton, isBusy, setBusy, setRatio, setText } from "/studio/dom.js";
import { explain } from "/studio/words.js";

/** What the mask is painted in; it is seen through the canvas's own opacity. */
const COLOR = "#ff6243";
/** Brush sizes as a share of the longer side, in percent. */
const SIZE = { min: 1, max: 40, value: 12 };
/** A step of the keyboard as a share of the brush, and with Shift. */
const STEP = 0.25;
const STRIDE = 1;

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class MaskEditor {
  #onDone;
  #brush;
  #erases = false;
  #paints = false;
  #at = { x: 0, y: 0 };

  /** `onDone(blob)` gets the mask, or null where nothing is masked. */
  constructor(onDone) {
    this.#onDone = onDone;
    this.#build();
    this.#brush = new Brush(this.canvas, COLOR);
  }

  #build() {
    this.picture = el("img", { class: "mask-picture", alt: "The picture that the mask is for" });
    this.canvas = el("canvas", {
      class: "mask-canvas",
      tabindex: "0",
      role: "application",
      "aria-label": "Mask. Arrow keys move the brush, the space bar paints while it is down.",
      "aria-describedby": "mask-cover",
    });
    this.ring = el("i", { class: "mask-ring", "aria-hidden": "true" });
    this.stage = el("div", { class: "mask-stage" }, this.picture, this.canvas, this.ring);
    this.cover = el("p", { class: "hint", id: "mask-cover", role: "status" });
    this.fault = el("p", { class: "fault", role: "alert" });
    this.size = el("input", {
      type: "range",
      id: "mask-size",
      ...SIZE,
      oninput: () => this.#place(),
    });
    const tool = (text, act, props) => button(text, act, props);
    const change = (act) => () => {
      act();
      this.#changed();
    };
    this.tools = {
      paint: tool("Paint", () => this.#erase(false), { "aria-pressed": "true" }),
      erase: tool("Erase", () => this.#erase(true), { "aria-pressed": "false" }),
      undo: tool(
        "Undo",
        change(() => this.#brush.undo()),
      ),
      redo: tool(
        "Redo",
        change(() => this.#brush.redo()),
      ),
      invert: tool(
        "Invert",
        change(() => this.#brush.invert()),
      ),
      clear: tool(
        "Clear",
        change(() => this.#brush.clear()),
      ),
    };
    this.done = button("Use this mask", () => this.#done(), { class: "primary" });
    this.node = el(
      "dialog",
      { class: "mask", id: "mask", "aria-labelledby": "mask-title" },
      el(
        "div",
        { class: "dialog-head" },
        el("h2", { id: "mask-title", class: "dialog-title" }, "What is drawn anew"),
        iconButton("close", "Close without a change", () => this.node.close()),
      ),
      el("div", { class: "mask-box" }, this.stage),
      el(
        "div",
        { class: "mask-tools" },
        el("div", { class: "mask-size" }, el("label", { for: "mask-size" }, "Brush"), this.size),
        el("div", { class: "actions" }, ...Object.values(this.tools)),
        this.cover,
        el("div", { class: "mask-foot" }, this.fault, this.done),
      ),
    );
    this.#listen();
    document.body.append(this.node);
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary) return;
      canvas.setPointerCapture(event.pointerId);
      this.#press(this.#point(event), event.buttons === 32);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!event.isPrimary) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      for (const move of moves.length ? moves : [event]) {
        const at = this.#point(move);
        if (this.#paints) this.#brush.move(at.x, at.y);
        this.#at = at;
      }
      this.#place();
    });
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, () => this.#lift());
    }
    canvas.addEventListener("keyup", (event) => event.key === " " && this.#lift());
    canvas.addEventListener("blur", () => this.#lift());
    this.node.addEventListener("keydown", (event) => this.#key(event));
    this.node.addEventListener("close", () => this.#lift());
  }

  /** Opens it over a picture, and a mask that there is already. */
  async open(image, mask) {
    setText(this.fault, "");
    setRatio(this.stage, image.width, image.height);
    this.picture.src = image.url;
    this.#brush.begin(image.width, image.height);
    this.#at = { x: image.width / 2, y: image.height / 2 };
    this.#erase(false);
    this.#changed();
    this.node.showModal();
    this.canvas.focus();
    this.#place();
    if (!mask) return;
    const before = el("img", { src: mask.url });
    const known = await before.decode().then(
      () => fromWhite(before, COLOR),
      () => null,
    );
    if (!known || this.#brush.canUndo) return;
    this.#brush.begin(image.width, image.height, known);
    this.#changed();
  }

  /** The brush's width in the picture's pixels. */
  get #width() {
    const { width, height } = this.canvas;
    return (Math.max(width, height) * this.size.value) / 100;
  }

  #point({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const { width, height } = this.canvas;
    return {
      x: ((clientX - box.left) / box.width) * width,
      y: ((clientY - box.top) / box.height) * height,
    };
  }

  #press(at, erases = false) {
    this.#at = at;
    this.#paints = true;
    this.#brush.press(at.x, at.y, { size: this.#width, erases: this.#erases || erases });
    this.#place();
  }

  #lift() {
    if (!this.#paints) return;
    this.#paints = false;
    this.#changed();
  }

  #key(event) {
    const { key, target } = event;
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z") {
      event.preventDefault();
      return this.tools[event.shiftKey ? "redo" : "undo"].click();
    }
    if (target !== this.canvas) return;
    const arrow = ARROWS[key];
    if (!arrow && key !== " ") return;
    event.preventDefault();
    if (key === " ") return void (event.repeat || this.#press(this.#at));
    const by = this.#width * (event.shiftKey ? STRIDE : STEP);
    const within = (value, most) => Math.min(most, Math.max(0, value));
    this.#at = {
      x: within(this.#at.x + arrow[0] * by, this.canvas.width),
      y: within(this.#at.y + arrow[1] * by, this.canvas.height),
    };
    if (this.#paints) this.#brush.move(this.#at.x, this.#at.y);
    this.#place();
  }

  #erase(erases) {
    this.#erases = erases;
    this.tools.paint.setAttribute("aria-pressed", String(!erases));
    this.tools.erase.setAttribute("aria-pressed", String(erases));
  }

  /** Puts the ring where the brush is. */
  #place() {
    const { width, height } = this.canvas;
    const share = (value, of) => `${((value / of) * 100).toFixed(2)}%`;
    const { style } = this.ring;
    style.setProperty("left", share(this.#at.x, width));
    style.setProperty("top", share(this.#at.y, height));
    style.setProperty("width", share(this.#width, width));
    const { min, max, value } = this.size;
    this.size.style.setProperty("--at", (value - min) / (max - min));
  }

  #changed() {
    const percent = Math.round(this.#brush.coverage * 100);
    setText(this.cover, percent ? `${percent} % is drawn anew` : "Nothing is masked: all is drawn");
    setBusy(this.tools.undo, !this.#brush.canUndo);
    setBusy(this.tools.redo, !this.#brush.canRedo);
  }

  async #done() {
    if (isBusy(this.done)) return;
    setBusy(this.done, true);
    try {
      await this.#onDone(this.#brush.coverage > 0 ? await this.#brush.export() : null);
      this.node.close();
    } catch (error) {
      setText(this.fault, explain(error));
    } finally {
      setBusy(this.done, false);
    }
  }
}
