// Runs before the first paint, so that a forced theme never flashes the other one. Not a module: modules run later.
try {
  const choice = JSON.parse(localStorage.getItem("gs.theme"));
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
} catch {
  // no storage: the system's theme
}
