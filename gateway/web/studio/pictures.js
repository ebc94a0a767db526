// Makes a picture from outside small enough for the gateway, which draws no larger ones.

/** Longest side that any model draws. */
const SIDE_PX_MAX = 2048;
/** A file of fewer bytes is sent as it is, if it is not too wide. */
const BYTES_MAX = 8_000_000;

/** Gives a name that says what it is and nothing of whose it was. */
export const copyName = ({ type }) => `picture.${type.split("/")[1]}`;

/** Gives the file itself where it fits, else a smaller one. */
export async function shrink(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return file; // The gateway says what is wrong with it.
  const { width, height } = picture;
  const scale = Math.min(1, SIDE_PX_MAX / Math.max(width, height));
  if (scale === 1 && file.size <= BYTES_MAX) return file;
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(width * scale)),
    Math.max(1, Math.round(height * scale)),
  );
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  return canvas.convertToBlob({ type: file.type, quality: 0.92 });
}
