/** Which dialog stands on top. A modal dialog makes everything outside inert, so what has to be heard and pressed goes into it. */

import { createStore, useStore } from "../lib/store.js";

const dialogs = createStore({ open: [] });

/** Put a dialog on top; returns what takes it away again. */
export function openedDialog(id) {
  dialogs.set({ open: [...dialogs.get().open, id] });
  return () => dialogs.set({ open: dialogs.get().open.filter((other) => other !== id) });
}

/** Tells whether the dialog `id` stands on top; null is the page, when no dialog is open. */
export const useIsTopmost = (id) => useStore(dialogs, ({ open }) => (open.at(-1) ?? null) === id);
