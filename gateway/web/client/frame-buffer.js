// Puts frames that become ready in any order into their own, for pages that play them one by one.
//
// `push` never waits; a full buffer says no, and who has pushed tries again after a `next`. A frame
// that never comes is passed over with `skip`.

export class FrameBuffer {
  #frames = new Map();
  #frames_max;
  #index = 0;
  #waiting = null;

  constructor(framesMax = 32) {
    this.#frames_max = framesMax;
  }

  /** Frames that wait to be taken. */
  get size() {
    return this.#frames.size;
  }

  /** Takes a frame in; gives false if it is past, there already, or one too many. */
  push(frame) {
    const { index } = frame;
    const isNext = index === this.#index;
    // The next one always has room, or nobody could go on.
    if (index < this.#index || this.#frames.has(index)) return false;
    if (!isNext && this.#frames.size >= this.#frames_max) return false;
    this.#frames.set(index, frame);
    this.#hand();
    return true;
  }

  /** Gives the next frame in order as soon as it is there. One caller at a time. */
  next() {
    return new Promise((take) => {
      this.#waiting = take;
      this.#hand();
    });
  }

  /** Goes on without the next frame. */
  skip() {
    this.#frames.delete(this.#index++);
    this.#hand();
  }

  #hand() {
    const frame = this.#frames.get(this.#index);
    if (!frame || !this.#waiting) return;
    this.#frames.delete(this.#index++);
    const take = this.#waiting;
    this.#waiting = null;
    take(frame);
  }
}
