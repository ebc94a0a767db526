// Puts text on the clipboard. Where the page may not (plain http by IP address), it shows the text
// to be copied by hand.

import { announce, button, el, lightDismiss } from "/studio/dom.js";

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} is on the clipboard.`);
    toast(`${what} copied`);
  } catch {
    show(text, what);
  }
}

const TOAST_MS = 2500;

/** Says something for a moment, where nothing has to move for it. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  const node = el("p", { class: "toast", "aria-hidden": "true", popover: "manual" }, text);
  document.body.append(node);
  node.showPopover();
  setTimeout(() => node.remove(), TOAST_MS);
}

function show(text, what) {
  const area = el("textarea", { class: "by-hand", rows: "10", readonly: true, "aria-label": what });
  area.value = text;
  const dialog = el(
    "dialog",
    { class: "sheet-dialog", "aria-label": what },
    el("h2", { class: "dialog-title" }, what),
    el("p", { class: "hint" }, "Your browser keeps the clipboard from this page. Copy it by hand."),
    area,
    el(
      "div",
      { class: "actions" },
      button("Close", () => dialog.close()),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  lightDismiss(dialog);
  document.body.append(dialog);
  dialog.showModal();
  area.select();
}
