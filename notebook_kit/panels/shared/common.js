// What the pages of all panels share: elements, a view with its questions to Python, colours, keys, files.

/** An element with attributes, listeners (on...) and children. Text is always text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.map(c => `nk-${c}`).join(" ");
  return set(element, attributes, ...children);
}

export const SVG = "http://www.w3.org/2000/svg";

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return set(document.createElementNS(SVG, tag), attributes, ...children);
}

export function set(element, attributes, ...children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else if (key === "value" || key === "checked" || key === "disabled") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace the children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

let nkViews = 0;

/**
 * One view of a panel: its listeners, its questions to Python, its words. `end()` takes all of them off again.
 *
 *   const view = startView(model, el, "token_inspector");
 *   view.on("change:text", draw);
 *   const { values, buffers } = await view.ask("tokens", { text });   // null when a newer question made it stale
 */
export function startView(model, el, name) {
  const id = `${Date.now().toString(36)}${(nkViews++).toString(36)}`;
  const waiting = new Map();     // question's id -> {resolve, kind}
  const newest = new Map();      // kind -> id of the newest question
  const offs = [];
  let count = 0;

  const root = h("section.panel", { lang: model.get("_language"), "data-panel": name });
  const alert = h("div.error", { role: "alert", hidden: true });
  const busy = h("div.busy", { role: "status", "aria-live": "polite", hidden: true });
  const body = h("div.body");
  root.append(body, busy, alert);
  el.append(root);

  const words = (key, values = {}) => {
    const table = model.get("_strings") ?? {};
    const text = table[`${name}.${key}`] ?? table[`common.${key}`] ?? key;
    return text.replace(/\{(\w+)\}/g, (whole, k) => (k in values ? String(values[k]) : whole));
  };

  const showError = error => {
    if (!error) { alert.hidden = true; fill(alert); return; }
    fill(alert,
      h("p.what", {}, error.what),
      error.next_step ? h("p.next", {}, "→ ", error.next_step) : null,
      h("button.plain", { type: "button", "aria-label": words("dismiss"), onclick: () => showError(null) }, "×"));
    alert.hidden = false;
  };

  const showBusy = kind => {
    fill(busy, h("span.spinner", { "aria-hidden": "true" }), h("span", {}, words("working")),
      h("button", { type: "button", onclick: () => cancel(kind) }, words("cancel")));
    busy.hidden = false;
  };

  const settleBusy = () => { if (![...waiting.values()].some(w => w.late)) busy.hidden = true; };

  const cancel = kind => {
    const asked = newest.get(kind);
    if (!asked || !waiting.has(asked)) return;
    model.send({ nk: `${id}.${++count}`, ask: "cancel", id: asked });
    finish(asked, null);
  };

  const finish = (asked, result) => {
    const one = waiting.get(asked);
    if (!one) return;
    clearTimeout(one.timer);
    waiting.delete(asked);
    settleBusy();
    one.resolve(result);
  };

  const onMessage = (content, buffers) => {
    const one = content && waiting.get(content.nk);
    if (!one) return;
    if (newest.get(one.kind) !== content.nk) return finish(content.nk, null);
    if (content.error) { showError(content.error); finish(content.nk, null); return; }
    showError(null);
    finish(content.nk, { values: content.answer, buffers: buffers ?? [] });
  };
  model.on("msg:custom", onMessage);
  offs.push(() => model.off("msg:custom", onMessage));

  const onNotice = () => { const notice = model.get("_notice"); if (notice?.what) showError(notice); };
  model.on("change:_notice", onNotice);
  offs.push(() => model.off("change:_notice", onNotice));
  onNotice();

  const onLanguage = () => root.setAttribute("lang", model.get("_language"));
  model.on("change:_language", onLanguage);
  offs.push(() => model.off("change:_language", onLanguage));

  return {
    root, body, words, showError, cancel,
    /** Ask Python. Resolves to {values, buffers}; to null when it failed (the error is shown) or a newer question was asked. */
    ask(kind, values = {}, slot = kind) {
      const asked = `${id}.${++count}`;
      const before = newest.get(slot);
      newest.set(slot, asked);
      if (before && waiting.has(before)) finish(before, null);
      return new Promise(resolve => {
        const one = { resolve, kind: slot, late: false };
        one.timer = setTimeout(() => { one.late = true; showBusy(slot); }, 250);
        waiting.set(asked, one);
        model.send({ nk: asked, ask: kind, with: values });
      });
    },
    /** Listen to the model (an event name) or to any target; taken off by end(). */
    on(target, event, listener) {
      if (typeof target === "string") { model.on(target, event); offs.push(() => model.off(target, event)); return; }
      target.addEventListener(event, listener);
      offs.push(() => target.removeEventListener(event, listener));
    },
    /** Watch the size of an element. */
    onResize(element, listener) {
      const observer = new ResizeObserver(listener);
      observer.observe(element);
      offs.push(() => observer.disconnect());
    },
    /** Call when light turns to dark or back. */
    onTheme(listener) {
      const query = matchMedia("(prefers-color-scheme: dark)");
      query.addEventListener("change", listener);
      offs.push(() => query.removeEventListener("change", listener));
      const observer = new MutationObserver(listener);
      for (const node of [document.documentElement, document.body])
        observer.observe(node, { attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light", "data-theme", "data-vscode-theme-kind"] });
      offs.push(() => observer.disconnect());
    },
    later(listener) { offs.push(listener); },
    end() { offs.splice(0).forEach(off => off()); waiting.forEach((one, asked) => finish(asked, null)); root.remove(); },
  };
}

/** A function that runs once things have been quiet for some milliseconds. */
export function debounced(wait, run) {
  let timer;
  const call = (...args) => { clearTimeout(timer); timer = setTimeout(() => run(...args), wait); };
  call.now = (...args) => { clearTimeout(timer); run(...args); };
  call.stop = () => clearTimeout(timer);
  return call;
}

/** A canvas of some CSS size, sharp on any screen; returns its 2D context, scaled to CSS pixels. */
export function sharpCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** The value of a CSS custom property, as the theme has it now. */
export function themed(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// Cividis: even steps of lightness, and read alike by people who do and do not tell red from green (Nunez et al., 2018).
const CIVIDIS = [[0, 32, 76], [0, 42, 102], [0, 52, 110], [39, 63, 108], [60, 74, 107], [76, 85, 107], [91, 95, 109], [104, 106, 112],
  [117, 117, 117], [131, 129, 120], [146, 140, 120], [161, 152, 118], [176, 165, 114], [192, 178, 109], [208, 192, 101],
  [225, 205, 91], [242, 220, 77], [255, 234, 70]];

/** 256 colours from low to high as [r, g, b]. */
export function colourScale() {
  return Array.from({ length: 256 }, (_, i) => {
    const place = (i / 255) * (CIVIDIS.length - 1), low = Math.floor(place), part = place - low;
    const a = CIVIDIS[low], b = CIVIDIS[Math.min(low + 1, CIVIDIS.length - 1)];
    return a.map((v, k) => Math.round(v + (b[k] - v) * part));
  });
}

/** Arrow keys move the focus through a row (or grid) of items, of which one is in the tab order. */
export function roving(container, selector, { columns = null, onMove = null } = {}) {
  const items = () => [...container.querySelectorAll(selector)];
  const focus = (list, i) => {
    list.forEach((item, k) => item.setAttribute("tabindex", k === i ? "0" : "-1"));
    list[i].focus();
    onMove?.(list[i], i);
  };
  container.addEventListener("keydown", event => {
    const list = items(), at = list.indexOf(event.target.closest(selector));
    if (at < 0) return;
    const width = typeof columns === "function" ? columns() : columns;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: width ?? 1, ArrowUp: -(width ?? 1), Home: -at, End: list.length - 1 - at };
    if (!(event.key in steps)) return;
    event.preventDefault();
    focus(list, Math.min(list.length - 1, Math.max(0, at + steps[event.key])));
  });
  return () => items().forEach((item, k) => item.setAttribute("tabindex", k === 0 ? "0" : "-1"));
}

/** Offer bytes or text to the reader as a file. */
export function download(filename, type, data) {
  const address = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = h("a", { href: address, download: filename });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
