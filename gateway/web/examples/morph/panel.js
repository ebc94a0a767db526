// The line at the bottom, and the keys: space, F, E.

/** Without a movement for so long the panel leaves. */
const STILL_MS = 4_000;

export class Panel {
  #body;
  #caption;
  #wish;
  #prompt;
  #word;
  #still = 0;

  constructor(document, { pause, wish }) {
    const find = (id) => document.getElementById(id);
    this.#body = document.body;
    this.#caption = find("caption");
    this.#wish = find("wish");
    this.#prompt = find("prompt");
    this.#word = find("word");

    this.#caption.addEventListener("click", () => this.#edit(true));
    this.#wish.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#edit(false);
      wish(this.#prompt.value);
    });
    this.#prompt.addEventListener("blur", () => this.#edit(false));
    const keys = {
      " ": pause,
      f: () => this.#fill(),
      e: () => this.#edit(true),
    };
    document.addEventListener("keydown", (event) => {
      this.#moved();
      if (event.key === "Escape") return this.#edit(false);
      const act = keys[event.key.toLowerCase()];
      const isTyping = event.target === this.#prompt;
      if (!act || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (!event.repeat) act();
    });
    document.addEventListener("pointermove", () => this.#moved());
    document.addEventListener("pointerdown", () => this.#moved());
    this.#moved();
  }

  /** Says how it stands, where that has changed. */
  state(word) {
    if (this.#body.dataset.state === word) return;
    this.#body.dataset.state = word;
    this.#word.textContent = word;
  }

  /** A picture has its turn; `wished` is the prompt that may be changed. */
  turn({ caption, isNew }, wished) {
    const { dataset } = this.#body;
    dataset.turns = String(Number(dataset.turns ?? 0) + 1);
    if (isNew) dataset.fresh = String(Number(dataset.fresh ?? 0) + 1);
    this.#caption.textContent = caption;
    if (this.#wish.hidden) this.#prompt.value = wished;
  }

  #edit(on) {
    if (this.#wish.hidden === !on) return;
    this.#wish.hidden = !on;
    this.#caption.hidden = on;
    if (on) this.#prompt.select();
    else this.#caption.focus({ preventScroll: true });
    this.#moved();
  }

  #fill() {
    const { ownerDocument: page } = this.#body;
    if (page.fullscreenElement) void page.exitFullscreen();
    else page.documentElement.requestFullscreen?.().catch(() => {});
  }

  #moved() {
    this.#body.classList.remove("is-still");
    clearTimeout(this.#still);
    this.#still = setTimeout(() => {
      if (this.#wish.hidden) this.#body.classList.add("is-still");
      else this.#moved();
    }, STILL_MS);
  }
}
