// When which picture has its turn.
//
// A picture takes the place of the one before over a few seconds, stays for a moment, and gives way
// to the next. Where no new one is there in time, one that was kept comes; where there is none, the
// one that is shown stays, and goes on moving.

/** A turn, and the part of it that is change. */
const TURN_S = 9;
const CHANGE = 0.8;
/** By which part of it a turn may be drawn out for a new picture, before a kept one comes. */
const PATIENCE = 0.5;
/** A gap between two frames that is not counted: the page was hidden, or the machine asleep. */
const GAP_MS = 250;

export class Show {
  #stage;
  #gallery;
  #turn_ms;
  #from = null;
  #to = null;
  /** Milliseconds of show, which stand still while it is paused. */
  #now = 0;
  #began = 0;
  #last = 0;
  /** Whether the next new picture comes as soon as it is there; so does the first of all. */
  #hurries = true;
  isPaused = false;
  /** Called when a picture's turn begins. */
  onTurn = (_) => {};
  onFrame = () => {};

  constructor(stage, gallery, turn_s = TURN_S) {
    this.#stage = stage;
    this.#gallery = gallery;
    this.#turn_ms = turn_s * 1000;
  }

  pause() {
    this.isPaused = !this.isPaused;
  }

  /** Somebody waits for the next new picture. */
  hurry() {
    this.#hurries = true;
  }

  async run() {
    this.#from = await this.#stage.first();
    const frame = (at) => {
      requestAnimationFrame(frame);
      const gone = at - this.#last;
      this.#last = at;
      if (!this.isPaused) this.#now += Math.min(gone, GAP_MS);
      this.#pass();
      this.onFrame();
    };
    requestAnimationFrame(frame);
  }

  #pass() {
    const change_ms = this.#turn_ms * CHANGE;
    let part = this.#to ? (this.#now - this.#began) / change_ms : 0;
    if (part >= 1) {
      this.#from.picture.close?.();
      this.#from = this.#to;
      this.#to = null;
      part = 0;
    }
    if (!this.#to && !this.isPaused) this.#choose();
    if (this.#to && part === 0) part = (this.#now - this.#began) / change_ms;
    this.#stage.paint(this.#from, this.#to, part, this.#now / 1000);
  }

  #choose() {
    const over_ms = this.#now - this.#began - this.#turn_ms;
    if (over_ms < 0 && !this.#hurries) return;
    const next = this.#gallery.fresh() ?? this.#kept(over_ms);
    if (!next) return;
    if (next.isNew) this.#hurries = false;
    this.#to = { ...next, born_s: this.#now / 1000, taste: Math.random() };
    this.#began = this.#now;
    this.onTurn(next);
  }

  #kept(over_ms) {
    // Where we know that nothing can come, nobody waits for it.
    const patience_ms = navigator.onLine ? this.#turn_ms * PATIENCE : 0;
    if (over_ms < patience_ms) return null;
    this.#gallery.wait();
    return this.#gallery.kept();
  }
}
