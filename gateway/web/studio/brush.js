// The mask as a list of what was done to it, which is what makes undo simple: the last is left out
// and the rest done again. Draws in one colour on transparent ground; knows no pointer and no
// dialog.

/** Steps that can be undone; what is older is there to stay. */
const STEPS_MAX = 200;
/** Side of the look that tells how much is masked. */
const LOOK_PX = 64;

export class Brush {
  #canvas;
  #context;
  #color;
  #steps = [];
  #undone = [];
  /** What can't be undone any more, drawn; null for nothing. */
  #ground = null;

  /** @param {HTMLCanvasElement} canvas @param {string} color */
  constructor(canvas, color) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#color = color;
  }

  /** Begins anew for a picture, over a mask that is there already. */
  begin(width, height, mask = null) {
    Object.assign(this.#canvas, { width, height });
    this.#steps = [];
    this.#undone = [];
    this.#ground = mask;
    this.#redraw();
  }

  get canUndo() {
    return this.#steps.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** Begins a stroke; `size` is the brush's width in the picture's own pixels. */
  press(x, y, { size, erases }) {
    this.#do({ kind: "stroke", size, erases, points: [[x, y]] });
  }

  /** Goes on with the stroke. */
  move(x, y) {
    const stroke = this.#steps.at(-1);
    const from = stroke.points.at(-1);
    stroke.points.push([x, y]);
    this.#stroke({ ...stroke, points: [from, [x, y]] });
  }

  clear() {
    this.#do({ kind: "clear" });
  }

  invert() {
    this.#do({ kind: "invert" });
  }

  undo() {
    if (!this.canUndo) return;
    this.#undone.push(this.#steps.pop());
    this.#redraw();
  }

  redo() {
    if (!this.canRedo) return;
    this.#steps.push(this.#undone.pop());
    this.#redraw();
  }

  /** Tells how much of the picture is masked, 0 to 1. */
  get coverage() {
    const look = new OffscreenCanvas(LOOK_PX, LOOK_PX);
    const context = look.getContext("2d");
    context.drawImage(this.#canvas, 0, 0, LOOK_PX, LOOK_PX);
    const { data } = context.getImageData(0, 0, LOOK_PX, LOOK_PX);
    let sum = 0;
    for (let at = 3; at < data.length; at += 4) sum += data[at];
    return sum / 255 / LOOK_PX ** 2;
  }

  /** Gives the mask as models read it: white is drawn anew, black stays. */
  async export() {
    const { width, height } = this.#canvas;
    const out = new OffscreenCanvas(width, height);
    const context = out.getContext("2d");
    context.drawImage(this.#canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    return out.convertToBlob({ type: "image/png" });
  }

  #do(step) {
    this.#undone = [];
    this.#steps.push(step);
    this.#draw(step);
    if (this.#steps.length <= STEPS_MAX) return;
    const rest = this.#steps.slice(1);
    this.#steps = this.#steps.slice(0, 1);
    this.#redraw();
    this.#ground = new OffscreenCanvas(this.#canvas.width, this.#canvas.height);
    this.#ground.getContext("2d").drawImage(this.#canvas, 0, 0);
    this.#steps = rest;
    this.#redraw();
  }

  #redraw() {
    const { width, height } = this.#canvas;
    this.#context.globalCompositeOperation = "source-over";
    this.#context.clearRect(0, 0, width, height);
    if (this.#ground) this.#context.drawImage(this.#ground, 0, 0, width, height);
    for (const step of this.#steps) this.#draw(step);
  }

  #draw(step) {
    const { width, height } = this.#canvas;
    const context = this.#context;
    if (step.kind === "stroke") return this.#stroke(step);
    if (step.kind === "clear") return context.clearRect(0, 0, width, height);
    context.globalCompositeOperation = "xor";
    context.fillStyle = this.#color;
    context.fillRect(0, 0, width, height);
  }

  #stroke({ size, erases, points }) {
    const context = this.#context;
    context.globalCompositeOperation = erases ? "destination-out" : "source-over";
    context.strokeStyle = this.#color;
    context.fillStyle = this.#color;
    context.lineWidth = size;
    context.lineCap = "round";
    context.lineJoin = "round";
    context.beginPath();
    if (points.length === 1) {
      context.arc(...points[0], size / 2, 0, 2 * Math.PI);
      return context.fill();
    }
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
}

/** Makes a mask of the gateway's (white on black) into one of ours (a colour on nothing). */
export function fromWhite(picture, color) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at];
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = color;
  context.fillRect(0, 0, width, height);
  return canvas;
}
