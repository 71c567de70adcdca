/** Short news at the end of the page: "Copied", "Kebun Kota is deleted". Stays 8 s, and while it is hovered or focused. */

import { createStore } from "../lib/store.js";

export const toasts = createStore({ items: [] });

let lastId = 0;

/** Show a toast; `action` is `{label, run}` or nothing. One that `stays` goes when its action or its cross is pressed. */
export function toast(text, { icon = "check", action = null, stays = false } = {}) {
  if (!text) return; // nothing to say, such as of what the person called off
  lastId += 1;
  const { items } = toasts.get();
  const passing = items.filter((item) => !item.stays).slice(-2);
  toasts.set({ items: [...items.filter((item) => item.stays || passing.includes(item)), { id: lastId, text, icon, action, stays }] });
}

export const dismissToast = (id) => toasts.set({ items: toasts.get().items.filter((item) => item.id !== id) });
