// Whether there is anything to see in a picture.
//
// A frame may be a sound file and yet nothing but black: some providers answer so where they don't
// want to draw. Nobody wants to be shown it.

/** Side of the copy that is looked at, and the least difference in it that counts as something. */
const SIDE_PX = 32;
const DIFFERENCE_MIN = 6;

/**
 * Says whether a picture has a size, and, where that can be seen, more than one shade.
 * @param {any} picture
 */
export function isValid(picture) {
  if (typeof Blob !== "undefined" && picture instanceof Blob) return picture.size > 0;
  if (!(picture?.width > 0 && picture?.height > 0)) return false;
  if (typeof OffscreenCanvas === "undefined") return true;
  const brush = new OffscreenCanvas(SIDE_PX, SIDE_PX).getContext("2d", { willReadFrequently: true });
  if (!brush) return true;
  brush.drawImage(picture, 0, 0, SIDE_PX, SIDE_PX);
  const { data } = brush.getImageData(0, 0, SIDE_PX, SIDE_PX);
  for (let channel = 0; channel < 3; channel++) {
    let least = 255;
    let most = 0;
    for (let at = channel; at < data.length; at += 4) {
      least = Math.min(least, data[at] ?? 0);
      most = Math.max(most, data[at] ?? 0);
    }
    if (most - least >= DIFFERENCE_MIN) return true;
  }
  return false;
}
