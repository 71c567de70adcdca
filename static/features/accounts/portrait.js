/**
 * Pictures of people before they leave the device: the square that was chosen, made small here. What the camera noted beside
 * the picture, such as the place, is left out by that.
 */

import { api } from "../../lib/api.js";
import { noteMe } from "./session.js";

/** The types the file dialog offers. */
export const PICTURE_TYPES = "image/png,image/jpeg,image/webp,image/gif";

const EDGE = 512;
const QUALITY = 0.92;

/** A file that is no picture this browser can open. */
export class NoPicture extends Error {}

/** Decode a file, the right way up. Raises NoPicture. */
export async function openPicture(file) {
  if (file.type && !file.type.startsWith("image/")) throw new NoPicture(`${file.name} is not a picture. Choose a PNG, JPEG, WebP or GIF.`);
  try {
    return await createImageBitmap(file);
  } catch {
    throw new NoPicture(`${file.name || "This picture"} cannot be opened here: it may be damaged, or of a kind this browser does not know. PNG, JPEG, WebP and GIF work.`);
  }
}

/** The part of a picture that is shown: `zoom` from 1, and where its middle lies, `x` and `y` from 0 to 1 of the room there is. */
export const WHOLE = { zoom: 1, x: 0.5, y: 0.5 };

/** How many of the picture's points the square is wide, and how far it can move. */
export function squareOf(bitmap, { zoom }) {
  const side = Math.min(bitmap.width, bitmap.height) / zoom;
  return { side, roomX: bitmap.width - side, roomY: bitmap.height - side };
}

/** Draw the chosen square on a canvas. */
export function drawSquare(canvas, bitmap, part) {
  const { side, roomX, roomY } = squareOf(bitmap, part);
  canvas.width = canvas.height = EDGE;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, roomX * part.x, roomY * part.y, side, side, 0, 0, EDGE, EDGE);
}

/** Make what a canvas shows my picture. */
export async function usePicture(canvas) {
  const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/webp", QUALITY)); // a browser that cannot write WebP gives a PNG
  noteMe(await api.upload("/users/me/avatar", file));
}

export async function removePicture() {
  await api.delete("/users/me/avatar");
  noteMe({ avatar_url: null });
  noteMe(await api.get("/users/me"));
}
