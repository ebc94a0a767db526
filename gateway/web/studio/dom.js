// Makes elements. Text goes in as text nodes only: prompts are other people's words, and nothing in
// the studio parses them as markup.

/** Makes an element; `props` are attributes, `on…` functions are listeners, null is left out. */
export function el(name, props = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** Sets text only where it differs, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Puts a picture's proportions on an element, within what a page can show without a sliver. */
export function setRatio(node, width, height) {
  const ratio = Math.min(3, Math.max(1 / 3, width / height || 1));
  node.style.setProperty("--ratio", ratio.toFixed(4));
}

export const stillness = matchMedia("(prefers-reduced-motion: reduce)");
