/** Light, dark, or as the system says. `theme-boot.js` applies the stored choice before the first paint. */

import { createStore } from "./store.js";
import { readStored, writeStored } from "./storage.js";

export const THEME_KEY = "gs.theme";

export const theme = createStore({ choice: readStored(THEME_KEY, "system") });

/** `choice` is "system", "light" or "dark". */
export function chooseTheme(choice) {
  writeStored(THEME_KEY, choice === "system" ? undefined : choice);
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  theme.set({ choice });
}
