/** How soon a password would be guessed, by zxcvbn: 820 kB with its lists of words, fetched when it is first needed. */

const URL_OF_ESTIMATOR = new URL("../../vendor/zxcvbn.js", import.meta.url).href;
const LONGEST_ESTIMATED = 24; // as many as the server weighs: beyond that it would take long, and says nothing new

const WORDS = ["Very easy to guess", "Easy to guess", "Could be stronger", "Good", "Strong"];

let loading = null;

/** Bring the estimator in. Without it nothing is said of strength here; the server looks for itself. */
export function loadEstimator() {
  loading ??= new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: URL_OF_ESTIMATOR, async: true });
    script.onload = resolve;
    script.onerror = () => {
      loading = null;
      script.remove();
      reject(new Error("The estimator did not arrive."));
    };
    document.head.append(script);
  });
  return loading;
}

/** `{score: 0…4, words, advice}`, or null without the estimator or a password. `own`: words that others know of the person. */
export function strengthOf(password, own = []) {
  if (!password || !globalThis.zxcvbn) return null;
  const { score, feedback } = globalThis.zxcvbn(password.slice(0, LONGEST_ESTIMATED), own.flatMap(wordsOf));
  const advice = score < 3 ? feedback.warning || feedback.suggestions[0] || "" : "";
  return { score, words: WORDS[score], advice: advice && !/[.!?]$/.test(advice) ? `${advice}.` : advice };
}

/** "lila@kebun.example" is guessed whole and in its parts. */
const wordsOf = (text) => [text, ...text.split(/[^\p{L}\p{N}]+/u)].filter((word) => word.length > 2);
