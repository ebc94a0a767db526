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

export const find = (id) => document.getElementById(id);

/** Sets text only where it differs, so that screen readers and selections are left alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Lists names and values, and leaves the list alone where they are the same. */
export function setFacts(list, facts) {
  const text = JSON.stringify(facts);
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(
    ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

/** Puts a picture's proportions on an element, within what a page can show without a sliver. */
export function setRatio(node, width, height) {
  const ratio = Math.min(3, Math.max(1 / 3, width / height || 1));
  node.style.setProperty("--ratio", ratio.toFixed(4));
}

/** Not `disabled`: a disabled button drops the focus, and a keyboard's user would start over. */
export const setBusy = (button, is) => button.setAttribute("aria-disabled", String(is));
export const isBusy = (button) => button.getAttribute("aria-disabled") === "true";

export const button = (text, act, props = {}) =>
  el("button", { type: "button", class: "quiet", onclick: act, ...props }, text);

const ICONS = {
  close: "m6 6 12 12M18 6 6 18",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  newer: "M14.5 5.5 8 12l6.5 6.5",
  older: "M9.5 5.5 16 12l-6.5 6.5",
};

/** A button that shows an icon and has a name. */
export function iconButton(icon, label, act, props = {}) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [
    ["viewBox", "0 0 24 24"],
    ["width", "18"],
    ["height", "18"],
    ["aria-hidden", "true"],
  ]) {
    svg.setAttribute(name, value);
  }
  path.setAttribute("d", ICONS[icon]);
  path.setAttribute("data-icon", icon);
  svg.append(path);
  const named = { class: "icon", "aria-label": label, title: label, ...props };
  const node = button("", act, named);
  node.append(svg);
  return node;
}

/** Tells a screen reader, without haste. */
export function announce(text) {
  if (text) find("announcer").textContent = text;
}

/** Wraps a dialog: a press beside it closes it. */
export function lightDismiss(dialog) {
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target === dialog) dialog.close();
  });
}

export const stillness = matchMedia("(prefers-reduced-motion: reduce)");
