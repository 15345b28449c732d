// The model that is looked at: its facts, the memory it needs, what its card says, and the buttons.

import { fill, h } from "../shared/common.js";

/** `onLoad(row)`, `onDelete(row)`: what the buttons do. */
export function modelDetails(view, tell, { onLoad, onDelete }) {
  const { words } = view;
  const pane = h("section.details", { "aria-label": words("details") });
  let shown = null, told = null, confirming = false, loading = false, failed = false;

  const fact = (key, ...value) => h("div", {}, h("dt", {}, words(key)), h("dd", {}, ...value));
  const facts = row => [
    row.task ? fact("task", h("bdi", {}, tell.task(row.task))) : null,
    fact("architecture", row.model_type ? h("bdi", {}, row.model_type) : words("unknown")),
    fact("parameters", row.parameters === null ? words("unknown") : `${tell.number(row.parameters)}`),
    fact("to_fetch", tell.toFetch(row)),
    row.cached_bytes && row.source === "cache" ? fact("cached", tell.size(row.cached_bytes)) : null,
    row.licence ? fact("licence", h("bdi", {}, row.licence)) : null,
    row.languages.length ? fact("languages", h("bdi", {}, row.languages.slice(0, 12).join(", "), row.languages.length > 12 ? " …" : "")) : null,
    row.downloads === null ? null : fact("downloads_month", tell.number(row.downloads)),
    row.likes === null ? null : fact("likes", tell.number(row.likes)),
    row.date ? fact("updated", row.date) : null,
  ];

  /** A bar for each width of the weights, against what is free. */
  const memory = (row, free) => {
    const places = Object.entries(free ?? {});
    if (row.parameters === null || !places.length) return h("p.faint", {}, words("memory_unknown"));
    const room = Math.max(...places.map(([, bytes]) => bytes)), most = Math.max(room, row.parameters * 4);
    const bar = (name, width, fits) => {
      const bytes = row.parameters * width;
      return h("div.bar", {}, h("span.bar-name", {}, name),
        h("span.track", { "aria-hidden": "true" }, h(`span.fill${fits === false ? ".over" : ""}`, { style: { width: `${Math.max(0.5, bytes / most * 100)}%` } }), h("span.limit", { style: { left: `${room / most * 100}%` } })),
        h(`span.bar-value${fits === false ? ".warn" : ""}`, {}, tell.size(bytes), fits === false ? ` ${words("does_not_fit")}` : ""));
    };
    return h("div.memory", {}, bar("float32", 4, row.fits), bar("bfloat16", 2, row.fits_half),
      h("p.faint", {}, places.map(([place, bytes]) => words(`free_${place}`, { size: tell.size(bytes) })).join(" · ")),
      row.fits === false && row.fits_half ? h("p.faint", {}, words("fits_half")) : null);
  };

  const buttons = row => {
    if (confirming) {
      const yes = h("button.danger", { type: "button", onclick: () => { confirming = false; onDelete(row); draw(); } }, words("delete_yes"));
      const no = h("button", { type: "button", onclick: () => { confirming = false; draw(); pane.querySelector(".nk-delete")?.focus(); } }, words("delete_no"));
      const box = h("div.confirm", { role: "alertdialog", "aria-label": words("delete_title") },
        h("p", {}, words("delete_ask", { size: tell.size(row.cached_bytes) })), h("div.row", {}, yes, no));
      box.addEventListener("keydown", event => { if (event.key === "Escape") { event.stopPropagation(); no.click(); } });
      return box;
    }
    return h("div.row", {},
      h("button.primary.load", { type: "button", disabled: Boolean(row.obstacle) || loading, onclick: () => onLoad(row) }, words("load")),
      row.source === "cache" ? h("button.delete", { type: "button", disabled: loading, onclick: () => { confirming = true; draw(); pane.querySelector(".nk-confirm button:last-child")?.focus(); } }, words("delete")) : null);
  };

  const fold = (key, open, content, more = "") => h("details", { open, "data-fold": key }, h("summary", {}, words(key), more ? h("span.faint", {}, ` ${more}`) : null), content);

  const draw = () => {
    if (!shown) { fill(pane, h("p.hint.faint", {}, words("hint"))); return; }
    const row = told?.row ?? shown;
    const open = Object.fromEntries([...pane.querySelectorAll("details")].map(one => [one.dataset.fold, one.open]));
    const focused = pane.contains(document.activeElement) ? [...document.activeElement.classList].find(name => ["nk-load", "nk-delete"].includes(name)) : null;
    const warned = tell.obstacle(row);
    fill(pane,
      h("h3.title", {}, h("bdi", {}, row.id)),
      warned ? h("p.warn", {}, "⚠ ", h("bdi", {}, warned)) : null,
      row.gated && !told?.problem ? h("p.note", {}, words("gated_note")) : null,
      told?.problem ? h("p.note", {}, told.problem.what, told.problem.next_step ? ` → ${told.problem.next_step}` : "") : null,
      buttons(row),
      h("dl.facts", {}, facts(row)),
      h("h4", {}, words("memory")), memory(row, told?.free),
      told ? [
        told.labels.length ? [h("h4", {}, words("labels"), h("span.faint", {}, ` ${tell.number(told.label_count)}`)), h("p.labels", {}, told.labels.slice(0, 40).map(label => h("bdi.tag", {}, label)), told.label_count > 40 ? "…" : null)] : null,
        told.summary ? fold("card", open.card ?? true, h("p.card", { dir: "auto" }, told.summary)) : null,
        told.files.length ? fold("files", open.files ?? false, h("table", {}, h("tbody", {}, told.files.map(([name, bytes]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)), h("td", {}, tell.size(bytes)))))), tell.number(told.files.length)) : null,
        told.config !== "{}" ? fold("config", open.config ?? false, h("pre.config", { tabindex: "0", role: "region", "aria-label": words("config") }, told.config)) : null,
      ] : failed ? null : h("p.faint", {}, words("looking")));
    if (focused) pane.querySelector(`.${focused}`)?.focus();
  };

  draw();
  return {
    element: pane,
    /** What is known at once; the rest follows with `tell`. */
    look(row) { if (row?.id !== shown?.id) { told = null; confirming = failed = false; } shown = row; draw(); },
    tell(answer) { if (answer.row.id === shown?.id) { told = answer; draw(); } },
    fail() { failed = true; draw(); },
    setLoading(value) { if (value !== loading) { loading = value; draw(); } },
    focusLoad() { pane.querySelector(".nk-load:not(:disabled)")?.focus(); },
    get id() { return shown?.id ?? ""; },
  };
}
