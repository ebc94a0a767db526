// The one small menu of the page: a list of things to do, opened at the button that asks for it.
//
// The popover element brings Escape, the press elsewhere and the return of focus.

import { button, el } from "/studio/dom.js";

const MARGIN_PX = 8;

let menu = null;
/** Whose menu a press on its own button has just closed; that press does not open it again. */
let closed = { anchor: null, at: 0 };
const SAME_PRESS_MS = 250;

/** @param {HTMLElement} anchor @param {[string, () => void][]} items */
export function openMenu(anchor, items) {
  if (closed.anchor === anchor && performance.now() - closed.at < SAME_PRESS_MS) return;
  menu?.remove();
  const choose = (act) => () => {
    menu.hidePopover();
    act();
  };
  const entries = items.map(([text, act]) =>
    el("li", {}, button(text, choose(act), { class: "menu-item" })),
  );
  menu = el("ul", { class: "menu", popover: "auto" }, ...entries);
  menu.addEventListener("keydown", move);
  // Beside its anchor in the document, so that Tab goes on from there, and on top in a dialog.
  anchor.after(menu);
  menu.addEventListener("toggle", ({ newState }) => {
    anchor.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "closed") closed = { anchor, at: performance.now() };
  });
  menu.showPopover();
  place(anchor);
  menu.querySelector("button")?.focus();
}

function place(anchor) {
  const at = anchor.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  // The document's width is without the place that is kept for a scroll bar.
  const left = Math.min(at.left, document.documentElement.clientWidth - width - MARGIN_PX);
  const below = at.bottom + 4;
  const top = below + height > innerHeight - MARGIN_PX ? at.top - height - 4 : below;
  menu.style.setProperty("left", `${Math.max(MARGIN_PX, left)}px`);
  menu.style.setProperty("top", `${Math.max(MARGIN_PX, top)}px`);
}

function move(event) {
  const buttons = [...menu.querySelectorAll("button")];
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  const at = buttons.indexOf(document.activeElement);
  buttons.at((at + by) % buttons.length)?.focus();
}
