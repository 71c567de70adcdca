/** Style sheets of pages that are fetched when they are first opened. */

/** Bring in a sheet by its path below `static/`; resolves when it applies. Raises when it cannot be fetched. */
export function addStyleSheet(path) {
  const { href } = new URL(`../${path}`, import.meta.url);
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
  return new Promise((resolve, reject) => {
    link.onload = resolve;
    link.onerror = () => {
      link.remove();
      reject(new Error(`${path} could not be fetched`));
    };
    document.head.append(link);
  });
}
