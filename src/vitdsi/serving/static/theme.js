// The colour scheme that was chosen here before. A classic script, so that it takes effect before the first paint.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";
} catch {
  document.documentElement.dataset.theme = "auto"; // storage is blocked
}
