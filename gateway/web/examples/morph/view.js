// Where a picture lies on the canvas: it covers it, and drifts slowly as long as it is shown.

/** How far it may come nearer, and how fast. */
const ZOOM = 0.16;
const ZOOM_S = 26;
const PAN = 0.045;

/**
 * Gives the part of the picture that is seen: its middle and half its sides, in shares of it.
 * `calm`: it stands still.
 */
export function viewOf({ picture, born_s, taste }, width, height, now_s, calm) {
  const age_s = calm ? 0 : now_s - born_s;
  // Nears and recedes for ever, so that also one that stays long never stands still.
  const near = 1 - Math.cos((age_s / ZOOM_S) * Math.PI);
  const zoom = 1.06 + (ZOOM * near) / 2;
  const wanted = width / height / (picture.width / picture.height);
  const x = Math.min(1, wanted) / 2 / zoom;
  const y = Math.min(1, 1 / wanted) / 2 / zoom;
  const angle = taste * 2 * Math.PI;
  const turn = age_s / (ZOOM_S * 1.7);
  const reach = (half) => Math.min(PAN, 0.5 - half);
  return {
    x: 0.5 + Math.cos(angle + turn) * reach(x),
    y: 0.5 + Math.sin(angle + turn) * reach(y),
    halfWidth: x,
    halfHeight: y,
  };
}

/** Begins and ends gently, and takes its time in between. */
export const ease = (part) => part * part * (3 - 2 * part);
