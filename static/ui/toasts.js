/** Short news at the end of the page: "Copied", "Kebun Kota is deleted". Stays 8 s and while it is hovered or focused. */

import { createStore } from "../lib/store.js";

export const toasts = createStore({ items: [] });

let lastId = 0;

/** Show a toast; `action` is `{label, run}` or nothing. */
export function toast(text, { icon = "check", action = null } = {}) {
  lastId += 1;
  toasts.set({ items: [...toasts.get().items.slice(-2), { id: lastId, text, icon, action }] });
}

export const dismissToast = (id) => toasts.set({ items: toasts.get().items.filter((item) => item.id !== id) });
