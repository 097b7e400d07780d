// A photo as it is read in Python: decoded, upright, on white, and reduced as Pillow reduces large ones.

const MOST_REDUCED = 3; // a photo is reduced until this many times the size that is read remains

/**
 * The pixels {data, width, height} of a file, four bytes each, whose shorter side has at least `size`.
 *
 * The EXIF orientation is applied. The canvas keeps the values of the file: no conversion of colours.
 */
export async function pixelsOf(file, size) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, width, height);
  return (await isJpeg(file)) ? drafted(pixels, size) : pixels;
}

/** The square [left, top, right, bottom] in pixels that is read of a photo: the centre, or a widened part of it. */
export function squareOf({ width, height }, region) {
  const [x, y, w, h] = region ?? [0, 0, 1, 1];
  const side = region ? Math.max(w * width, h * height) : Math.min(width, height);
  const [left, right] = widened(x, w, width, side);
  const [top, bottom] = widened(y, h, height, side);
  return [left, top, right, bottom];
}

/** A photo and a square of it, both reduced by means of whole pixels where the square is many times the size that is read. */
export function reduced(photo, square, size) {
  const factor = Math.floor((square[2] - square[0]) / size / MOST_REDUCED);
  if (factor < 2) return [photo, square];
  return [divided(photo, factor), square.map((place) => place / factor)];
}

/** Widen an interval around its middle to `side` pixels, or to the whole length. */
function widened(start, share, length, side) {
  const size = Math.min(side, length);
  const first = Math.min(Math.max((start + share / 2) * length - size / 2, 0), length - size);
  return [first, first + size];
}

async function isJpeg(file) {
  const start = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  return start[0] === 0xff && start[1] === 0xd8 && start[2] === 0xff;
}

/** What libjpeg gives when it decodes at 1/2, 1/4 or 1/8 of the size: means of whole pixels. */
function drafted(photo, size) {
  const most = Math.min(Math.floor(photo.width / size), Math.floor(photo.height / size));
  const factor = [8, 4, 2].find((one) => most >= one);
  return factor ? divided(photo, factor) : photo;
}

/** A photo of which each pixel is the mean of `factor` x `factor` pixels. At its end, the last pixels are repeated. */
function divided({ data, width, height }, factor) {
  const [columns, rows] = [Math.ceil(width / factor), Math.ceil(height / factor)];
  const made = new Uint8ClampedArray(4 * columns * rows);
  const sums = new Uint32Array(4 * width); // of the rows that become one
  for (let row = 0; row < rows; row += 1) {
    sums.fill(0);
    for (let at = 0; at < factor; at += 1) {
      const source = 4 * width * Math.min(height - 1, row * factor + at);
      for (let place = 0; place < sums.length; place += 1) sums[place] += data[source + place];
    }
    for (let column = 0; column < columns; column += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        for (let at = 0; at < factor; at += 1) sum += sums[4 * Math.min(width - 1, column * factor + at) + channel];
        made[4 * (row * columns + column) + channel] = sum / factor ** 2;
      }
    }
  }
  return { data: made, width: columns, height: rows };
}
