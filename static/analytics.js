/**
 * Google Analytics, only where an operator has set analytics.google_id: without it, the page does not name this file.
 *
 * Google learns that somebody opened a kind of page, never which: of an address only its first word is told, and no title. Nobody
 * is followed who asks not to be (Do Not Track, Global Privacy Control), and nothing of Google's is loaded with a page whose address
 * holds a secret.
 */

const SECRET_PAGES = ["invite", "reset", "verify", "enter"];

function firstWord() {
  return location.pathname.split("/")[1];
}

function isRefused() {
  return navigator.globalPrivacyControl === true || navigator.doNotTrack === "1";
}

function start(id) {
  const queue = (window.dataLayer = window.dataLayer || []);
  // Google's tag reads `arguments` objects, not arrays.
  function tell() {
    queue.push(arguments);
  }
  const look = () => {
    if (SECRET_PAGES.includes(firstWord())) return;
    tell("set", { page_location: `${location.origin}/${firstWord()}`, page_title: "Group Spaces", page_referrer: "" });
    tell("event", "page_view");
  };
  tell("js", new Date());
  tell("set", { page_location: location.origin, page_title: "Group Spaces", page_referrer: "" });
  tell("config", id, { send_page_view: false, allow_google_signals: false, allow_ad_personalization_signals: false });
  look();
  window.navigation?.addEventListener("navigatesuccess", look);
  const script = document.createElement("script");
  script.async = true;
  script.src = `https://www.googletagmanager.com/gtag/js?id=${encodeURIComponent(id)}`;
  document.head.append(script);
}

const id = document.querySelector('meta[name="google-analytics"]')?.content;
if (id && !isRefused() && !SECRET_PAGES.includes(firstWord())) start(id);
