// What is drawn next: a journey through places and hours, or somebody's own prompt through the hours.
//
// From one picture to the next one thing changes, the hour; after a few hours the place. The seed
// stays with the place, so that models which can keep a composition do.

/** Words that most models, the built-in one too, know what to do with. */
const PLACES = [
  "a mountain lake, a small sailing boat, birds",
  "a pine forest with a cabin",
  "a rocky coast with a lighthouse",
  "a castle above a valley of flowers",
  "desert dunes with a hot-air balloon",
  "a harbour town on a hill",
  "snowy peaks above a frozen fjord",
  "a ringed planet above an alien sea",
  "flowing silk in soft colours",
];
const HOURS = [
  "at dawn, soft mist",
  "in the soft light of morning",
  "on a bright summer day, a few clouds",
  "in golden evening light",
  "at sunset, long shadows",
  "in a magic pastel twilight",
  "on a moonlit night full of stars",
  "under the aurora borealis",
];
const HOURS_PER_PLACE = 3;
const SEED_MAX = 2 ** 32;

export class Journey {
  #step = 0;
  #hour = Math.floor(Math.random() * 3);
  #place = Math.floor(Math.random() * PLACES.length);
  #seed = 0;
  #size;

  /** What somebody wished for; empty is the journey. */
  prompt;

  constructor(prompt, size) {
    this.prompt = prompt.trim();
    const [, width, height] = size?.match(/^(\d+)x(\d+)$/) ?? [];
    const isTall = globalThis.innerHeight > globalThis.innerWidth;
    this.#size = width
      ? { width: Number(width), height: Number(height) }
      : isTall ? { width: 512, height: 896 } : { width: 896, height: 512 };
  }

  wish(prompt) {
    this.prompt = prompt.trim();
    this.#step = 0;
  }

  /** Gives the next order. */
  next() {
    if (this.#step % HOURS_PER_PLACE === 0) {
      this.#seed = Math.floor(Math.random() * SEED_MAX);
      this.#place++;
    }
    this.#step++;
    const place = this.prompt || PLACES[this.#place % PLACES.length];
    const hour = HOURS[this.#hour++ % HOURS.length];
    return { prompt: `${place}, ${hour}`, seed: this.#seed, ...this.#size };
  }

  /** A model that does not draw our size draws its own. */
  refused(problem) {
    const isSize = ({ pointer }) => /width|height/.test(pointer ?? "");
    if (problem.status === 422 && problem.fields.some(isSize)) this.#size = {};
  }
}
