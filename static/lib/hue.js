/** The hue that a space or a person owns. Colours keep only their hue: lightness and chroma are the design's. */

/** The twelve rooms to choose from, with the colour that is stored for each. */
export const HUES = [
  ["leaf", "Leaf", 150], ["pine", "Pine", 175], ["lake", "Lake", 212], ["sky", "Sky", 247],
  ["iris", "Iris", 280], ["plum", "Plum", 320], ["rose", "Rose", 5], ["clay", "Clay", 40],
  ["amber", "Amber", 70], ["straw", "Straw", 98], ["moss", "Moss", 122], ["slate", "Slate", 230],
].map(([name, label, degrees]) => ({ name, label, degrees, color: hexOf(0.58, name === "slate" ? 0.03 : 0.1, degrees) }));

const GREY_CHROMA = 0.04;
const PRESET_WITHIN_DEGREES = 3;

/** Attributes for the element that changes the hue: `{hue, degrees?, chroma?}`. */
export function spaceHue(space) {
  return colorHue(space?.theme_color, space?.id ?? 0);
}

export const personHue = (userId) => HUES[(userId * 7 + 3) % 11].name;

/** Set a hue on an element through CSSOM, as the content security policy allows. */
export function applyHue(element, { hue, degrees, chroma }) {
  element.dataset.hue = hue;
  if (degrees === undefined) {
    element.style.removeProperty("--hue");
    element.style.removeProperty("--chr");
  } else {
    element.style.setProperty("--hue", degrees.toFixed(1));
    element.style.setProperty("--chr", String(chroma));
  }
}

function colorHue(color, seed) {
  if (!color) return { hue: HUES[seed % 11].name };
  const named = HUES.find((entry) => entry.name === color || entry.color === color.toLowerCase());
  if (named) return { hue: named.name };
  const lch = toOklch(color);
  if (!lch) return { hue: "leaf" };
  if (lch.chroma < GREY_CHROMA) return { hue: "own", degrees: lch.degrees, chroma: 0.3 };
  const near = HUES.find((entry) => entry.name !== "slate" && Math.abs(entry.degrees - lch.degrees) <= PRESET_WITHIN_DEGREES);
  return near ? { hue: near.name } : { hue: "own", degrees: lch.degrees, chroma: 1 };
}

/* OKLab by Björn Ottosson, https://bottosson.github.io/posts/oklab/ */

function toOklch(hex) {
  const match = /^#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(hex);
  if (!match) return null;
  const [r, g, b] = match.slice(1).map((pair) => toLinear(parseInt(pair, 16) / 255));
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  const a = 1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s;
  const bb = 0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s;
  return { chroma: Math.hypot(a, bb), degrees: ((Math.atan2(bb, a) * 180) / Math.PI + 360) % 360 };
}

function hexOf(lightness, chroma, degrees) {
  const a = chroma * Math.cos((degrees * Math.PI) / 180);
  const b = chroma * Math.sin((degrees * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const channels = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return `#${channels.map((c) => Math.round(toGamma(Math.min(1, Math.max(0, c))) * 255).toString(16).padStart(2, "0")).join("")}`;
}

function toLinear(channel) {
  return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
}

function toGamma(channel) {
  return channel <= 0.0031308 ? 12.92 * channel : 1.055 * channel ** (1 / 2.4) - 0.055;
}
