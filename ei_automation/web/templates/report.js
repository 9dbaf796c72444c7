"use strict";
// Images are written once: in the first element that shows them, or in the list for those that only the
// feature explorer shows. Here the other elements get theirs.
const images = JSON.parse(document.getElementById("images").textContent);
for (const element of document.querySelectorAll("img[data-image][src]")) images[element.dataset.image] = element.src;
for (const element of document.querySelectorAll("img[data-image]:not([src])")) element.src = images[element.dataset.image];

(() => {
  const gallery = document.getElementById("wrong");
  if (!gallery) return;
  const keys = ["variant", "category", "actual"];
  const selects = keys.map((key) => document.getElementById("filter-" + key));
  const filter = () => {
    let shown = 0;
    for (const item of gallery.children) {
      item.hidden = keys.some((key, index) => selects[index].value && item.dataset[key] !== selects[index].value);
      shown += item.hidden ? 0 : 1;
    }
    document.getElementById("shown").textContent = shown + " shown";
  };
  // The int8 model on testing is what runs on the board: it is shown first.
  const start = [...gallery.children].some((item) => item.dataset.variant === "int8" && item.dataset.category === "testing");
  if (start) { selects[0].value = "int8"; selects[1].value = "testing"; }
  for (const select of selects) select.addEventListener("change", filter);
  filter();
})();

// A printed page cannot be opened further.
addEventListener("beforeprint", () => { for (const item of document.querySelectorAll("details")) item.open = true; });
