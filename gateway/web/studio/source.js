// The picture that an order starts from: chosen, dropped, pasted or taken from the gallery; the
// part of it that is drawn anew; and how far the new picture may go from it.
//
// A picture from outside is sent to the gateway at once and named in the order; one of the
// session's own frames is named as it is. What is here is what the order says: no picture, no mask.

import { copyName, shrink } from "/studio/pictures.js";
import { el, find, setBusy, setRatio, setText } from "/studio/dom.js";
import { MaskEditor } from "/studio/mask.js";
import { explain } from "/studio/words.js";

/** What the gateway takes. */
const TYPES = ["image/png", "image/jpeg", "image/webp"];

export class Source {
  #call;
  #hooks;
  /** {name, url, width, height} of the picture; {name, url} of the mask. */
  #image = null;
  #mask = null;
  #editor = null;
  #turn = 0;
  #canMask = true;
  isBusy = false;

  /** Hooks: onSize(width, height) of a new picture, onChange(), onFault(text). */
  constructor(call, hooks) {
    this.#call = call;
    this.#hooks = hooks;
    const box = find("source");
    const file = find("source-file");
    find("source-choose").addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.#take(file.files[0]);
      file.value = "";
    });
    find("source-remove").addEventListener("click", () => {
      this.clear();
      find("source-choose").focus();
    });
    find("source-mask").addEventListener("click", () => this.#paint());
    document.addEventListener("paste", (event) => {
      const picture = pictureOf(event.clipboardData);
      if (!picture || box.hidden || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      this.#take(picture);
    });
    // A picture that misses the box would otherwise replace the page.
    for (const type of ["dragover", "drop"]) {
      document.addEventListener(type, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        box.toggleAttribute("data-over", type === "dragover");
        if (type === "drop" && !box.hidden) this.#take(pictureOf(event.dataTransfer));
      });
    }
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) box.removeAttribute("data-over");
    });
  }

  /** What it adds to an order's input. */
  get input() {
    if (!this.#image) return {};
    const input = { image: this.#image.name, strength: Number(find("strength").value) / 100 };
    return this.#mask && this.#canMask ? { ...input, mask: this.#mask.name } : input;
  }

  /** Whether the model draws a part of a picture anew. */
  set canMask(can) {
    this.#canMask = can;
    this.#show();
  }

  /** What a reload needs. */
  get saved() {
    return this.#image && { image: this.#image, mask: this.#mask };
  }

  restore(saved) {
    if (!saved?.image) return;
    this.#image = saved.image;
    this.#mask = saved.mask;
    this.#show();
  }

  /** Starts from a frame of the session. */
  start({ url, width, height }) {
    this.#set({ name: url, url, width, height });
    find("source-mask").focus();
  }

  /** Takes what a job started from; the session's own pictures are named, others are addresses. */
  take({ image, mask, strength, width, height }) {
    if (!image) return this.clear();
    this.#image = { name: image, url: addressOf(image), width, height };
    this.#mask = mask ? { name: mask, url: addressOf(mask) } : null;
    if (strength) find("strength").value = String(Math.round(strength * 100));
    this.#changed();
  }

  clear() {
    this.#turn++;
    this.isBusy = false;
    this.#image = null;
    this.#mask = null;
    this.#changed();
  }

  async #take(file) {
    if (!file) return this.#hooks.onFault("That is no picture.");
    if (!TYPES.includes(file.type)) {
      return this.#hooks.onFault("A picture must be PNG, JPEG or WebP.");
    }
    const turn = ++this.#turn;
    this.isBusy = true;
    this.#show();
    try {
      const kept = await this.#upload(await shrink(file), copyName(file));
      // A later picture, or none, has taken its place.
      if (turn === this.#turn) this.#set(kept);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.isBusy = false;
      this.#show();
      this.#hooks.onFault(explain(error));
    }
  }

  async #upload(blob, name) {
    const body = new FormData();
    body.append("file", blob, name);
    const { id, url, width, height } = await this.#call("POST", "/v1/files", { body });
    return { name: id, url, width, height };
  }

  #set(image) {
    this.#turn++;
    this.isBusy = false;
    this.#image = image;
    this.#mask = null;
    this.#hooks.onSize(image.width, image.height);
    this.#changed();
  }

  #paint() {
    this.#editor ??= new MaskEditor(async (blob) => {
      this.#mask = blob && (await this.#upload(blob, "mask.png"));
      this.#changed();
    });
    this.#editor.open(this.#image, this.#mask);
  }

  #changed() {
    this.#show();
    this.#hooks.onChange();
  }

  #show() {
    const image = this.#image;
    find("source").toggleAttribute("data-full", Boolean(image));
    for (const id of ["strength-row", "source-remove"]) find(id).hidden = !image;
    find("source-mask").hidden = !image?.url || !this.#canMask;
    setBusy(find("source-choose"), this.isBusy);
    const choose = image ? "Replace" : "Choose a picture";
    setText(find("source-choose"), this.isBusy ? "Sending…" : choose);
    setText(find("source-mask"), this.#mask ? "Edit mask" : "Paint mask");
    const view = find("source-view");
    view.replaceChildren();
    if (!image) return;
    setRatio(view, image.width, image.height);
    if (!image.url) return void view.append(el("span", { class: "paper-gone" }, "From elsewhere"));
    const picture = el("img", { src: image.url, alt: "The picture to start from" });
    // It has expired, or was another session's.
    picture.addEventListener("error", () => image === this.#image && this.clear());
    view.append(picture);
    if (!this.#mask?.url || !this.#canMask) return;
    const veil = el("span", { class: "mask-veil", role: "img", "aria-label": "The mask" });
    veil.style.setProperty("--mask", `url("${new URL(this.#mask.url, location.href).href}")`);
    view.append(veil);
  }
}

/** Where a picture of the session's is; null for one elsewhere, which this page may not load. */
function addressOf(name) {
  if (/^https?:/.test(name)) return null;
  return name.startsWith("/") ? name : `/v1/files/${name}`;
}

const pictureOf = (data) =>
  [...(data?.files ?? [])].find(({ type }) => type.startsWith("image/")) ?? null;
