// Paints without WebGL: one picture dissolves into the other while both drift.

import { ease, viewOf } from "./view.js";

export class PlainPainter {
  canvas = document.createElement("canvas");
  isLost = false;
  isPlain = true;
  #brush = this.canvas.getContext("2d", { alpha: false });

  paint(from, to, part, now_s, calm) {
    this.#draw(from, 1, now_s, calm);
    if (to && part > 0) this.#draw(to, ease(part), now_s, calm);
  }

  #draw(shown, alpha, now_s, calm) {
    const { width, height } = this.canvas;
    const { picture } = shown;
    const { x, y, halfWidth, halfHeight } = viewOf(shown, width, height, now_s, calm);
    this.#brush.globalAlpha = alpha;
    this.#brush.drawImage(
      picture,
      (x - halfWidth) * picture.width,
      (y - halfHeight) * picture.height,
      2 * halfWidth * picture.width,
      2 * halfHeight * picture.height,
      0,
      0,
      width,
      height,
    );
  }
}
