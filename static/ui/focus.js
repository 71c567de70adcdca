/** Keeping the focus where it was, or near by when what had it goes. */

/** Remember what has the focus. The returned function gives it back, or to the nearest thing around it that is left. */
export function rememberFocus() {
  const trail = [];
  for (let element = document.activeElement; element && element !== document.body; element = element.parentElement) trail.push(element);
  return () => {
    if (trail[0]?.isConnected) trail[0].focus();
    setTimeout(() => focusNearest(trail)); // what goes together with a dialog goes a moment later
  };
}

function focusNearest(trail) {
  if (document.activeElement && document.activeElement !== document.body) return;
  for (const element of trail) {
    if (!element.isConnected) continue;
    const target = element.matches("main, section") ? element.querySelector("h1[tabindex], h2[tabindex]") : element.matches("[tabindex]") && element;
    if (target) return target.focus({ preventScroll: true });
  }
  document.querySelector("main h1[tabindex]")?.focus({ preventScroll: true });
}
