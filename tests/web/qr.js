// Reads a QR code back, as a camera would.

import jsQR from "jsqr";

const [MARGIN, SCALE] = [4, 3];

/** What rows of modules say. */
export function read(modules) {
  const size = (modules.length + 2 * MARGIN) * SCALE;
  const pixels = new Uint8ClampedArray(size * size * 4).fill(255);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const dark = modules[Math.floor(y / SCALE) - MARGIN]?.[Math.floor(x / SCALE) - MARGIN];
      if (dark) pixels.fill(0, (y * size + x) * 4, (y * size + x) * 4 + 3);
    }
  }
  return jsQR(pixels, size, size)?.data;
}

/** What the picture on a page says. */
export async function shown(page) {
  const svg = page.locator("#qr svg");
  const size = Number((await svg.getAttribute("viewBox")).split(" ")[2]);
  const modules = Array.from({ length: size }, () => new Array(size).fill(false));
  for (const [, x, y] of (await svg.locator("path").getAttribute("d")).matchAll(/M(\d+) (\d+)/g)) modules[y][x] = true;
  return read(modules);
}
