/**
 * What is being changed before it is applied. A draft maps a key to `{value, reset?}`; keys that stay as they are are not in it.
 * Knows the rule that the idle interval is never below the active one: the other slider comes along.
 */

export const KEYS = ["interval_s", "idle_interval_s", "jitter", "doorbell"];

const STOPS_S = [0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1800, 3600];
export const JITTER_STOPS = [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5];

/** The steps of an interval's slider: round numbers within its range, and whatever it is now. */
export function intervalStops({ value, configured, min, max }) {
  return stopsWith(STOPS_S.filter((stop) => stop >= min && stop <= max), value, configured);
}

/** The same steps with more values among them. */
export const stopsWith = (stops, ...values) => [...new Set([...stops, ...values])].sort((a, b) => a - b);

/** What would be true with the draft applied. */
export function chosenOf(tuning, draft) {
  return Object.fromEntries(KEYS.map((key) => [key, draft[key]?.value ?? tuning[key].value]));
}

/** The draft after a slider was moved. */
export function moved(tuning, draft, key, value) {
  const next = { ...draft, [key]: { value } };
  const chosen = chosenOf(tuning, next);
  if (chosen.idle_interval_s < chosen.interval_s) {
    const other = key === "interval_s" ? "idle_interval_s" : "interval_s";
    next[other] = { value: chosen[key] };
  }
  return Object.fromEntries(Object.entries(next).filter(([name, entry]) => entry.reset || entry.value !== tuning[name].value));
}

/** A draft that takes every key back to the instance's settings. */
export function resetDraft(tuning) {
  return Object.fromEntries(KEYS.map((key) => [key, { value: tuning[key].configured, reset: true }]));
}

/**
 * The changes to send: null takes a key back to the settings. For all instances also what only this one was tuned to; a reset there
 * takes back every key, because others may be tuned where this one is not.
 */
export function bodyOf(tuning, draft, everywhere) {
  const changed = Object.entries(draft).filter(([key, entry]) => everywhere || !entry.reset || tuning[key].from !== "settings");
  const body = Object.fromEntries(changed.map(([key, entry]) => [key, entry.reset ? null : entry.value]));
  if (everywhere) for (const key of KEYS) if (!(key in body) && tuning[key].from === "instance") body[key] = tuning[key].value;
  return body;
}

/** True when something is tuned here, or for all instances by the newest word in the log, whatever this one was told since. */
export function isTunedAnywhere(tuning, tunings) {
  const forAll = KEYS.map((key) => tunings.find((entry) => entry.key === key && entry.instance === null));
  return KEYS.some((key) => tuning[key].from !== "settings") || forAll.some((entry) => entry && entry.value !== null);
}
