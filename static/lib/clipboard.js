/** Putting a text where the person can paste it. */

/** Copy a text and tell whether that worked; `field` holds it already, else one is made for the moment. */
export async function copyText(text, field = null) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(field ?? fieldWith(text), field === null);
  }
}

/** For browsers and plain-http pages without the clipboard interface. */
function copySelected(field, isMade) {
  const before = document.activeElement;
  field.focus();
  field.select();
  const worked = document.execCommand("copy");
  if (isMade) {
    field.remove();
    before?.focus();
  }
  return worked;
}

function fieldWith(text) {
  const field = Object.assign(document.createElement("textarea"), { className: "sr", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  return field;
}
