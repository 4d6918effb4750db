// How a drawing becomes the image that the network was trained on: bright on black, scaled to a box
// and moved to its centre of mass. The steps are those that dilax.models.Preparation takes once it
// has found the object in a picture. An image here is {height, width, values}, row by row.

/**
 * Bring a drawing to the form of the network's images.
 *
 * @param {ArrayLike<number>} ink - how much ink is in each pixel, 0 to 255, row by row
 * @param {number} side - pixels along each axis of the drawing
 * @param {{height: number, width: number, objectSize: number}} form - what the network takes
 * @returns {Float32Array | null} the pixels of the image, in [0, 1]; null if nothing is drawn
 */
export function prepare(ink, side, { height, width, objectSize }) {
  const drawn = cropped(ink, side);
  if (drawn === null) return null;
  const room = Math.min(height / drawn.height, width / drawn.width);
  const scale = Math.min(objectSize / Math.max(drawn.height, drawn.width), room);
  const sides = [drawn.height, drawn.width].map((one) => Math.max(1, rounded(scale * one)));
  return centred(brightened(resized(drawn, ...sides)), height, width);
}

/** Cut out the smallest box with all ink; null if there is none. */
function cropped(ink, side) {
  let [top, bottom, left, right] = [side, -1, side, -1];
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      if (ink[row * side + column] === 0) continue;
      top = Math.min(top, row);
      bottom = row;
      left = Math.min(left, column);
      right = Math.max(right, column);
    }
  }
  if (bottom < 0) return null;
  const pixel = (row, column) => ink[(top + row) * side + left + column];
  return filled(bottom - top + 1, right - left + 1, pixel);
}

/** Resize along both axes, by cubic interpolation; a pixel of a smaller image is an average. */
function resized(image, height, width) {
  const across = mixtures(image.width, width);
  const down = mixtures(image.height, height);
  const narrow = filled(image.height, width, (row, column) =>
    mixed(across[column], image.values, row * image.width, 1));
  return filled(height, width, (row, column) => mixed(down[row], narrow.values, column, width));
}

/** For each of `to` pixels, the first of `from` pixels that it is made of, and their shares. */
function mixtures(from, to) {
  const step = from / to;
  const stretch = Math.max(step, 1);
  return Array.from({ length: to }, (_, pixel) => {
    const centre = (pixel + 0.5) * step;
    const first = Math.max(0, Math.round(centre - 2 * stretch));
    const last = Math.min(from, Math.round(centre + 2 * stretch));
    const shares = Float64Array.from({ length: last - first }, (_, index) =>
      cubic((first + index + 0.5 - centre) / stretch));
    const total = shares.reduce((sum, share) => sum + share, 0);
    return { first, shares: shares.map((share) => share / total) };
  });
}

/** Keys's cubic of slope -1/2 (R. Keys, "Cubic convolution interpolation", 1981, equation 15). */
function cubic(x) {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

function mixed({ first, shares }, values, start, stride) {
  let sum = 0;
  for (let index = 0; index < shares.length; index++) {
    sum += shares[index] * values[start + (first + index) * stride];
  }
  return Math.min(Math.max(sum, 0), 255); // a cubic overshoots at edges
}

/** Scale values so that the largest is 255, and round them. */
function brightened({ height, width, values }) {
  const largest = Math.max(1, ...values);
  return { height, width, values: values.map((value) => rounded((255 * value) / largest)) };
}

/** Place an image on black so that its centre of mass is the centre, if it then has room. */
function centred(image, height, width) {
  let [total, rows, columns] = [0, 0, 0];
  image.values.forEach((value, pixel) => {
    total += value;
    rows += value * Math.floor(pixel / image.width);
    columns += value * (pixel % image.width);
  });
  const corner = (whole, centre, side) =>
    Math.min(Math.max(rounded(whole / 2 - centre), 0), whole - side);
  const top = corner(height, rows / total, image.height);
  const left = corner(width, columns / total, image.width);
  const whole = new Float32Array(height * width);
  image.values.forEach((value, pixel) => {
    const row = top + Math.floor(pixel / image.width);
    whole[row * width + left + (pixel % image.width)] = value / 255;
  });
  return whole;
}

/** Round to an integer, and halves to the even one, as Python does. */
function rounded(x) {
  const nearest = Math.round(x);
  return nearest - x === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** Make an image whose pixels are given by a function of row and column. */
function filled(height, width, pixel) {
  const values = new Float32Array(height * width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      values[row * width + column] = pixel(row, column);
    }
  }
  return { height, width, values };
}
