// The frames of live panels follow the theme of the page, and are as high as their panels.

const frames = () => [...document.querySelectorAll("iframe.live-panel")];
const dark = matchMedia("(prefers-color-scheme: dark)");

function theme() {
  const chosen = document.body.dataset.theme;
  return chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light";
}

const show = frame => frame.contentWindow?.postMessage({ theme: theme() }, "*");

addEventListener("message", ({ data, source }) => {
  const frame = frames().find(one => one.contentWindow === source);
  if (!frame || !(data?.panelHeight > 0)) return;
  frame.style.height = `${data.panelHeight}px`;
  show(frame);   // a panel that reports its height listens
});

// A frame may have loaded, and reported its height, before this script listened.
frames().forEach(frame => frame.contentWindow?.postMessage({ askHeight: true }, "*"));

addEventListener("DOMContentLoaded", () => {
  const showAll = () => frames().forEach(show);
  dark.addEventListener("change", showAll);
  new MutationObserver(showAll).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
});
