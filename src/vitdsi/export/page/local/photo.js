// A photo as the browser decodes it: upright pixels on white, and the square of them that is read.

/**
 * The pixels {data, width, height} of a file, four bytes each. The EXIF orientation is applied.
 *
 * The canvas keeps the values of the file: no conversion of colours.
 */
export async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** The square {left, top, right, bottom} in pixels that is read of a photo: the centre, or a widened part of it. */
export function squareOf({ width, height }, region) {
  const [x, y, w, h] = region ?? [0, 0, 1, 1];
  const side = region ? Math.max(w * width, h * height) : Math.min(width, height);
  const [left, right] = widened(x, w, width, side);
  const [top, bottom] = widened(y, h, height, side);
  return { left, top, right, bottom };
}

/** Widen an interval around its middle to `side` pixels, or to the whole length; in whole pixels. */
function widened(start, share, length, side) {
  const size = Math.min(side, length);
  const first = Math.floor(Math.min(Math.max((start + share / 2) * length - size / 2, 0), length - size));
  return [first, Math.max(first + 1, Math.round(first + size))];
}
