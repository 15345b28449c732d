// The selected model: its facts, the memory it needs, the summary of its card, and the buttons.

import { fill, h } from "../shared/common.js";

/** `onLoad(row)` and `onDelete(row)` are called by the buttons. */
export class ModelDetails {
  constructor({ words }, format, { onLoad, onDelete }) {
    Object.assign(this, { words, format, onLoad, onDelete });
    this.element = h("section.details", { "aria-label": words("details") });
    this.shown = null;      // the row in the list
    this.known = null;       // its details, once Python has sent them
    this.isConfirming = this.isLoading = this.hasFailed = false;
    this.draw();
  }

  get id() {
    return this.shown?.id ?? "";
  }

  /** Show the facts in the row at once; `setKnown` adds the rest. */
  look(row) {
    if (row?.id !== this.shown?.id) { this.known = null; this.isConfirming = this.hasFailed = false; }
    this.shown = row;
    this.draw();
  }

  setKnown(answer) {
    if (answer.row.id !== this.shown?.id) return;
    this.known = answer;
    this.draw();
  }

  fail() {
    this.hasFailed = true;
    this.draw();
  }

  setLoading(value) {
    if (value === this.isLoading) return;
    this.isLoading = value;
    this.draw();
  }

  focusLoad() {
    this.element.querySelector(".nk-load:not(:disabled)")?.focus();
  }

  draw() {
    const { words, format, known, element } = this;
    if (!this.shown) { fill(element, h("p.hint.faint", {}, words("hint"))); return; }
    const row = known?.row ?? this.shown, warned = format.obstacle(row);
    const open = Object.fromEntries([...element.querySelectorAll("details")].map(one => [one.dataset.fold, one.open]));
    const focused = element.contains(document.activeElement) ? [...document.activeElement.classList].find(name => ["nk-load", "nk-delete"].includes(name)) : null;
    fill(element,
      h("h3.title", {}, h("bdi", {}, row.id)),
      warned ? h("p.warn", {}, "⚠ ", h("bdi", {}, warned)) : null,
      this.notes(row),
      this.isConfirming ? this.confirmation(row) : this.buttons(row),
      h("dl.facts", {}, factsOf(words, format, row)),
      h("h4", {}, words("memory")), memory(words, format, row, known?.free),
      known ? this.more(known, open) : this.hasFailed ? null : h("p.faint", {}, words("looking")));
    if (focused) element.querySelector(`.${focused}`)?.focus();
  }

  notes(row) {
    const problem = this.known?.problem;
    if (problem) return h("p.note", {}, problem.what, problem.next_step ? ` → ${problem.next_step}` : "");
    return row.gated ? h("p.note", {}, this.words("gated_note")) : null;
  }

  buttons(row) {
    const { words, element } = this;
    const onclick = () => { this.isConfirming = true; this.draw(); element.querySelector(".nk-confirm button:last-child")?.focus(); };
    return h("div.row", {},
      h("button.primary.load", { type: "button", disabled: Boolean(row.obstacle) || this.isLoading, onclick: () => this.onLoad(row) }, words("load")),
      row.source === "cache" ? h("button.delete", { type: "button", disabled: this.isLoading, onclick }, words("delete")) : null);
  }

  confirmation(row) {
    const { words, element } = this;
    const close = () => { this.isConfirming = false; this.draw(); };
    const yes = h("button.danger", { type: "button", onclick: () => { this.onDelete(row); close(); } }, words("delete_yes"));
    const no = h("button", { type: "button", onclick: () => { close(); element.querySelector(".nk-delete")?.focus(); } }, words("delete_no"));
    const onkeydown = event => { if (event.key === "Escape") { event.stopPropagation(); no.click(); } };
    return h("div.confirm", { role: "alertdialog", "aria-label": words("delete_title"), onkeydown },
      h("p", {}, words("delete_ask", { size: this.format.size(row.cached_bytes) })), h("div.row", {}, yes, no));
  }

  /** The details that are not in the row: labels, the card, the files, the configuration. */
  more({ labels, label_count: count, summary, files, config }, open) {
    const { words, format } = this;
    const fold = (key, isOpen, content, more = "") => h("details", { open: open[key] ?? isOpen, "data-fold": key },
      h("summary", {}, words(key), more ? h("span.faint", {}, ` ${more}`) : null), content);
    const fileRows = files.map(([name, bytes]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)), h("td", {}, format.size(bytes))));
    return [
      labels.length ? [
        h("h4", {}, words("labels"), h("span.faint", {}, ` ${format.number(count)}`)),
        h("p.labels", {}, labels.slice(0, 40).map(label => h("bdi.tag", {}, label)), count > 40 ? "…" : null),
      ] : null,
      summary ? fold("card", true, h("p.card", { dir: "auto" }, summary)) : null,
      files.length ? fold("files", false, h("table", {}, h("tbody", {}, fileRows)), format.number(files.length)) : null,
      config === "{}" ? null : fold("config", false, h("pre.config", { tabindex: "0", role: "region", "aria-label": words("config") }, config)),
    ];
  }
}

function factsOf(words, format, row) {
  const fact = (key, ...value) => h("div", {}, h("dt", {}, words(key)), h("dd", {}, ...value));
  return [
    row.task ? fact("task", h("bdi", {}, format.task(row.task))) : null,
    fact("architecture", row.model_type ? h("bdi", {}, row.model_type) : words("unknown")),
    fact("parameters", row.parameters === null ? words("unknown") : format.number(row.parameters)),
    fact("to_fetch", format.toFetch(row)),
    row.cached_bytes && row.source === "cache" ? fact("cached", format.size(row.cached_bytes)) : null,
    row.licence ? fact("licence", h("bdi", {}, row.licence)) : null,
    row.languages.length ? fact("languages", h("bdi", {}, row.languages.slice(0, 12).join(", "), row.languages.length > 12 ? " …" : "")) : null,
    row.downloads === null ? null : fact("downloads_month", format.number(row.downloads)),
    row.likes === null ? null : fact("likes", format.number(row.likes)),
    row.date ? fact("updated", row.date) : null,
  ];
}

/** A bar for each width of the weights, compared with the free memory. */
function memory(words, format, row, free) {
  const places = Object.entries(free ?? {});
  if (row.parameters === null || !places.length) return h("p.faint", {}, words("memory_unknown"));
  const room = Math.max(...places.map(([, bytes]) => bytes)), most = Math.max(room, row.parameters * 4);
  const bar = (name, width, fits) => {
    const bytes = row.parameters * width, isOver = fits === false;
    return h("div.bar", {}, h("span.bar-name", {}, name),
      h("span.track", { "aria-hidden": "true" },
        h(`span.fill${isOver ? ".over" : ""}`, { style: { width: `${Math.max(0.5, bytes / most * 100)}%` } }),
        h("span.limit", { style: { left: `${room / most * 100}%` } })),
      h(`span.bar-value${isOver ? ".warn" : ""}`, {}, format.size(bytes), isOver ? ` ${words("does_not_fit")}` : ""));
  };
  return h("div.memory", {}, bar("float32", 4, row.fits), bar("bfloat16", 2, row.fits_half),
    h("p.faint", {}, places.map(([place, bytes]) => words(`free_${place}`, { size: format.size(bytes) })).join(" · ")),
    row.fits === false && row.fits_half ? h("p.faint", {}, words("fits_half")) : null);
}
