/** A device in words, from what its browser says of itself. Browsers say little and not always the truth: this names the usual ones. */

// The first that fits: most claim to be several of those below them.
const BROWSERS = [
  [/\bEdgA?\/|\bEdgiOS\//, "Edge"],
  [/\bOPR\/|\bOPT\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\bVivaldi\//, "Vivaldi"],
  [/\bFirefox\/|\bFxiOS\//, "Firefox"],
  [/\bHeadlessChrome\/|\bChromium\//, "Chromium"],
  [/\bChrome\/|\bCriOS\//, "Chrome"],
  [/\bSafari\//, "Safari"],
];

const SYSTEMS = [
  [/\biPhone\b/, "iPhone", true],
  [/\biPad\b/, "iPad", true],
  [/\bAndroid\b/, "Android", true],
  [/\bCrOS\b/, "ChromeOS", false],
  [/\bWindows\b/, "Windows", false],
  [/\bMac OS X\b|\bMacintosh\b/, "Mac", false],
  [/\bLinux\b|\bX11\b/, "Linux", false],
];

/** `{name: "Firefox on Windows", isPhone}`; a program is named by its first word. */
export function deviceOf(userAgent) {
  const browser = BROWSERS.find(([pattern]) => pattern.test(userAgent))?.[1];
  const [, system, isPhone] = SYSTEMS.find(([pattern]) => pattern.test(userAgent)) ?? [];
  const program = /^[\w.-]+/.exec(userAgent)?.[0];
  const name = browser && system ? `${browser} on ${system}` : browser ?? system ?? program ?? "An unknown device";
  return { name, isPhone: Boolean(isPhone) };
}
