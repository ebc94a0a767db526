// Miniatures of the frames that the page has seen, a few hundred bytes each: what is shown,
// blurred, until a frame has come. They outlive a reload.

const SIDE_PX = 20;
/** Miniatures that are kept, the newest; together they are some 200 kB. */
const KEPT_MAX = 250;
const STORED = "framewire.tiny";

const kept = new Map(read());
let isDue = false;

/** Gives a frame's miniature as a data URI, or undefined. */
export const of = (name) => kept.get(name);

/** Makes a miniature of a picture that has been decoded. */
export function keep(name, picture) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  const scale = SIDE_PX / Math.max(width, height);
  if (!Number.isFinite(scale)) return;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  kept.delete(name);
  kept.set(name, canvas.toDataURL("image/webp", 0.5));
  for (const oldest of [...kept.keys()].slice(0, Math.max(0, kept.size - KEPT_MAX))) {
    kept.delete(oldest);
  }
  if (isDue) return;
  isDue = true;
  (globalThis.requestIdleCallback ?? setTimeout)(write);
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]");
  } catch {
    return [];
  }
}

function write() {
  isDue = false;
  try {
    localStorage.setItem(STORED, JSON.stringify([...kept]));
  } catch {
    // Without storage they live as long as the page.
  }
}
