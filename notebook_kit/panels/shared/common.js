// Shared by the pages of all panels: creating elements, a view with its requests to Python, colours, keyboard focus, downloads.

/** An HTML element with attributes, listeners (on...) and children. Strings become text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.map(c => `nk-${c}`).join(" ");
  return set(element, attributes, ...children);
}

export const SVG = "http://www.w3.org/2000/svg";

/** The same for an SVG element. */
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

/**
 * One view of a panel: its listeners, its requests to Python, its texts. `end()` removes the view and its listeners.
 *
 *   const view = startView(model, el, "token_inspector");
 *   view.on("change:text", draw);
 *   const answer = await view.ask("tokens", { text });   // { values, buffers }, or null
 */
export function startView(model, el, name) {
  return new View(model, el, name);
}

class View {
  constructor(model, el, name) {
    this.model = model;
    this.offs = [];
    /** A text in the panel's language, with each `{key}` replaced by its value; `key_one`, if there is one, for a `count` of 1. */
    this.words = (key, values = {}) => {
      const table = model.get("_strings") ?? {};
      const single = values.count === 1 ? table[`${name}.${key}_one`] : undefined;
      const text = single ?? table[`${name}.${key}`] ?? table[`common.${key}`] ?? key;
      return text.replace(/\{(\w+)\}/g, (whole, k) => (k in values ? String(values[k]) : whole));
    };
    this.root = h("section.panel", { lang: model.get("_language"), "data-panel": name });
    this.body = h("div.body");
    this.alert = h("div.error", { role: "alert", hidden: true });
    this.questions = new Questions(model, this.words, error => this.showError(error));
    this.root.append(this.body, this.questions.busy, this.alert);
    el.append(this.root);
    const onNotice = () => { const notice = model.get("_notice"); if (notice?.what) this.showError(notice); };
    this.on("msg:custom", (content, buffers) => this.questions.onMessage(content, buffers));
    this.on("change:_notice", onNotice);
    this.on("change:_language", () => this.root.setAttribute("lang", model.get("_language")));
    onNotice();
  }

  /** Show an error, `{ what, next_step }`; null removes it. */
  showError(error) {
    this.alert.hidden = !error;
    fill(this.alert, error ? [
      h("p.what", {}, error.what),
      error.next_step ? h("p.next", {}, "→ ", error.next_step) : null,
      h("button.plain", { type: "button", "aria-label": this.words("dismiss"), onclick: () => this.showError(null) }, "×"),
    ] : []);
  }

  /**
   * Send a request to Python. Resolves to `{ values, buffers }`, or to null if it failed (the error is shown) or a newer request
   * replaced it in the same slot. A quiet request shows no indicator when it takes long; the panel says elsewhere what it awaits.
   * `buffers` are sent as bytes.
   */
  ask(kind, values = {}, slot = kind, isQuiet = false, buffers = []) {
    return this.questions.ask(kind, values, slot, isQuiet, buffers);
  }

  /** Cancel the pending request in a slot. */
  cancel(slot) {
    this.questions.cancel(slot);
  }

  /** Listen to the model (an event name) or to any target, until `end()`. */
  on(target, event, listener) {
    if (typeof target === "string") { this.model.on(target, event); this.later(() => this.model.off(target, event)); return; }
    target.addEventListener(event, listener);
    this.later(() => target.removeEventListener(event, listener));
  }

  /** Call `listener` when the size of an element changes. */
  onResize(element, listener) {
    const observer = new ResizeObserver(listener);
    observer.observe(element);
    this.later(() => observer.disconnect());
  }

  /** Call `listener` when the theme changes between light and dark. */
  onTheme(listener) {
    let timer;
    const call = () => { listener(); clearTimeout(timer); timer = setTimeout(listener, THEME_SETTLES); };
    this.on(matchMedia("(prefers-color-scheme: dark)"), "change", call);
    const observer = new MutationObserver(call);
    for (const node of [document.documentElement, document.body])
      observer.observe(node, { attributes: true, attributeFilter: ["class", "theme", "data-jp-theme-light", "data-theme", "data-vscode-theme-kind"] });
    this.later(() => { observer.disconnect(); clearTimeout(timer); });
  }

  /** Call `listener` in `end()`. */
  later(listener) {
    this.offs.push(listener);
  }

  end() {
    this.offs.splice(0).forEach(off => off());
    this.questions.end();
    this.root.remove();
  }
}

let views = 0;
const THEME_SETTLES = 500;   // milliseconds; JupyterLab hides the page while it loads the style sheet of a theme

/** A question as a key that does not depend on the order of its values. */
export function keyOf(kind, values) {
  return JSON.stringify([kind, Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** The answers that came with the panel's state: `{ ask, with, answer, buffers }`. */
export function firstAnswers(model) {
  return (model.get("_first") ?? {}).answers ?? [];
}

/** The pending requests of a view, one per slot, and the busy indicator shown when one takes long. */
class Questions {
  constructor(model, words, onError) {
    Object.assign(this, { model, words, onError });
    this.id = `${Date.now().toString(36)}${(views++).toString(36)}`;
    this.count = 0;
    this.waiting = new Map();   // id of a request -> { resolve, slot, isLate, timer }
    this.newest = new Map();    // slot -> id of the newest request
    this.busy = h("div.busy", { role: "status", "aria-live": "polite", hidden: true });
  }

  ask(kind, values, slot, isQuiet, buffers) {
    const id = this.nextId(), before = this.newest.get(slot), key = keyOf(kind, values);
    this.newest.set(slot, id);
    this.resolve(before, null);
    const known = firstAnswers(this.model).find(one => one.ask === kind && keyOf(kind, one.with) === key);
    if (known) return Promise.resolve({ values: known.answer, buffers: known.buffers ?? [] });
    return new Promise(resolve => {
      const question = { resolve, slot, isLate: false };
      if (!isQuiet) question.timer = setTimeout(() => { question.isLate = true; this.showBusy(slot); }, 250);
      this.waiting.set(id, question);
      this.model.send({ nk: id, ask: kind, with: values }, undefined, buffers);
    });
  }

  cancel(slot) {
    const id = this.newest.get(slot);
    if (!this.waiting.has(id)) return;
    this.model.send({ nk: this.nextId(), ask: "cancel", id });
    this.resolve(id, null);
  }

  onMessage(content, buffers) {
    const question = content && this.waiting.get(content.nk);
    if (!question) return;
    const isStale = this.newest.get(question.slot) !== content.nk;
    if (!isStale) this.onError(content.error ?? null);
    this.resolve(content.nk, isStale || content.error ? null : { values: content.answer, buffers: buffers ?? [] });
  }

  /** Resolve a request, if it is still pending. */
  resolve(id, result) {
    const question = this.waiting.get(id);
    if (!question) return;
    clearTimeout(question.timer);
    this.waiting.delete(id);
    if (![...this.waiting.values()].some(other => other.isLate)) this.busy.hidden = true;
    question.resolve(result);
  }

  showBusy(slot) {
    fill(this.busy, h("span.spinner", { "aria-hidden": "true" }), h("span", {}, this.words("working")),
      h("button", { type: "button", onclick: () => this.cancel(slot) }, this.words("cancel")));
    this.busy.hidden = false;
  }

  nextId() {
    this.count += 1;
    return `${this.id}.${this.count}`;
  }

  end() {
    [...this.waiting.keys()].forEach(id => this.resolve(id, null));
  }
}

/** A function that calls `run` once it has not been called for `wait` milliseconds. */
export function debounced(wait, run) {
  let timer;
  const call = (...args) => { clearTimeout(timer); timer = setTimeout(() => run(...args), wait); };
  call.now = (...args) => { clearTimeout(timer); run(...args); };
  call.stop = () => clearTimeout(timer);
  return call;
}

/** Size a canvas in CSS pixels at the full screen resolution; returns its 2D context, scaled to CSS pixels. */
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

/** The current value of a CSS custom property. */
export function themed(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// Cividis (Nunez et al., 2018): perceptually uniform, and readable with or without red-green colour blindness.
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

/** Let arrow keys move the focus through a row (or grid) of items, only one of which is in the tab order. */
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

/** Download bytes or text as a file. */
export function download(filename, type, data) {
  const address = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = h("a", { href: address, download: filename });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
