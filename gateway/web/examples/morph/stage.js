// Paints two pictures and what is between them, with WebGL or without.
//
// Beneath lies the picture that ships, as a plain <img>: the page's first paint. A canvas is put
// above it only when something is painted on it. A graphics context can be lost at any time (sleep,
// a driver's reset) and its canvas is blank from then on; the plain painter takes its place in the
// same turn, and WebGL is tried again after a while.

import { GlPainter } from "./gl-painter.js";
import { PlainPainter } from "./plain-painter.js";

const AGAIN_MS = 5_000;
/** More pixels than this are not seen in something that always moves. */
const RATIO_MAX = 1.5;
/**
 * Frames over which the pace is measured; slower than this fewer pixels are painted, down to a part.
 * WebGL that is slow even so, or that is far too slow, gives way to the plain painter for good.
 */
const PACE_FRAMES = 40;
const SLOW_MS = 22;
const TOO_SLOW_MS = 60;
const SCALE_MIN = 0.4;

export class Stage {
  #place;
  #ground;
  #mustGl;
  #hasGl;
  #painter = null;
  #again_at = 0;
  #scale = 1;
  #frames = 0;
  #since = 0;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * @param {HTMLElement} place
   * @param {HTMLImageElement} ground
   * @param {string | null} [paint] `gl` insists on WebGL, `plain` does without; else what is fast
   */
  constructor(place, ground, paint) {
    this.#place = place;
    this.#ground = ground;
    this.#mustGl = paint === "gl";
    this.#hasGl = paint !== "plain";
  }

  /** Gives the picture that ships, once it is there; until then the ground stands in. */
  async first() {
    for (;;) {
      try {
        await this.#ground.decode();
        const picture = await createImageBitmap(this.#ground);
        return { picture, born_s: 0, taste: 0.5 };
      } catch {
        await new Promise((again) => setTimeout(again, 1_000));
        this.#ground.src = this.#ground.src.split("?")[0];
      }
    }
  }

  /** Paints `from` on its way to `to`; `part` goes from 0 to 1. */
  paint(from, to, part, now_s) {
    const painter = this.#ready();
    const { canvas } = painter;
    const ratio = Math.min(devicePixelRatio || 1, RATIO_MAX) * this.#scale;
    const width = Math.max(1, Math.round(innerWidth * ratio));
    const height = Math.max(1, Math.round(innerHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    painter.paint(from, to, Math.min(1, Math.max(0, part)), now_s, this.#calm.matches);
    if (!canvas.isConnected) this.#place.append(canvas);
    this.#measure();
  }

  /** Where there is no WebGL at first, there will be none later. */
  #makeGl() {
    const painter = this.#hasGl ? GlPainter.make(this.#mustGl) : null;
    this.#hasGl &&= painter !== null || this.#painter !== null;
    return painter;
  }

  #ready() {
    if (this.#painter && !this.#painter.isLost) {
      const isTime = this.#hasGl && this.#painter.isPlain && performance.now() > this.#again_at;
      if (isTime) this.#promote();
      return this.#painter;
    }
    const lost = this.#painter;
    this.#again_at = performance.now() + AGAIN_MS;
    this.#painter = (lost ? null : this.#makeGl()) ?? new PlainPainter();
    // The lost canvas goes after the next one was painted on, which is in this very turn.
    queueMicrotask(() => lost?.canvas.remove());
    return this.#painter;
  }

  #promote() {
    this.#again_at = performance.now() + AGAIN_MS * 6;
    const better = this.#makeGl();
    if (!better) return;
    const { canvas } = this.#painter;
    queueMicrotask(() => canvas.remove());
    this.#painter = better;
  }

  #demote() {
    this.#hasGl = false;
    this.#scale = 1;
    this.#painter.isLost = true;
  }

  /** Paints fewer pixels where the machine is slow; what moves may be soft, but must be smooth. */
  #measure() {
    const now = performance.now();
    if (this.#frames++ === 0) this.#since = now;
    if (this.#frames <= PACE_FRAMES) return;
    const frame_ms = (now - this.#since) / PACE_FRAMES;
    this.#frames = 0;
    // A hidden page is not slow.
    if (frame_ms < SLOW_MS || frame_ms > 500) return;
    const isHopeless = frame_ms > TOO_SLOW_MS || this.#scale === SCALE_MIN;
    if (isHopeless && !this.#painter.isPlain && !this.#mustGl) return this.#demote();
    this.#scale = Math.max(SCALE_MIN, this.#scale * 0.85);
  }
}
