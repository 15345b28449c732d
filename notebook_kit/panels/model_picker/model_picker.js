// ModelPicker: one search over the zoo, the cache and the Hub, the details of a model, loading it, and trying it.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { Help } from "../shared/help.js";
import { ModelDetails } from "./details.js";
import { Format } from "./format.js";
import { LoadingView } from "./loading.js";
import { QUESTION, QueryForm } from "./query.js";
import { ModelGrid } from "./rows.js";
import { ModelSearch } from "./search.js";
import { ModelTrial } from "./trying.js";

const TABLE = ["id", "source", "task", "model_type", "parameters", "fetch_bytes", "cached_bytes", "licence", "languages", "downloads", "likes",
  "date", "gated", "obstacle"];

export default {
  render({ model, el }) {
    let end = modelPicker(model, el);
    const again = () => { end(); end = modelPicker(model, el); };   // most texts are only written when the view is built
    model.on("change:_language", again);
    return () => { model.off("change:_language", again); end(); };
  },
};

function modelPicker(model, el) {
  const view = startView(model, el, "model_picker");
  new ModelPicker(model, view).start();
  return () => view.end();
}

class ModelPicker {
  constructor(model, view) {
    const { words } = view, format = new Format(model, words);
    Object.assign(this, { model, view, format });
    this.query = new QueryForm(model, view, format, new Help(view));
    this.search = new ModelSearch(model, view, this.query, { onRows: fromTop => this.showRows(fromTop), onState: () => this.showState() });
    this.grid = new ModelGrid(view, format, {
      onLook: row => this.look(row),
      onOpen: () => this.details.focusLoad(),
      onSort: order => this.query.sortBy(order),
      onNear: () => queueMicrotask(() => this.search.more()),
    });
    this.details = new ModelDetails(view, format, {
      onLoad: row => view.ask("load", { id: row.id, task: row.task || null }),
      onDelete: row => this.delete(row),
    });
    this.loading = new LoadingView(view, format, { onStop: () => view.ask("stop"), onDismiss: () => this.put("_problem", {}) });
    this.trial = new ModelTrial(view, format, (values, buffers) => view.ask("try", { values }, "try", false, buffers));
    this.status = h("p.status", { role: "status", "aria-live": "polite" });
    this.notice = h("div.notice", { role: "status", hidden: true });
    this.resumeButton = h("button", { type: "button", hidden: true, onclick: () => this.search.resume() }, words("search_on"));
    this.linked = h("p.faint.linked");
    this.askDetailsSoon = debounced(200, id => this.askDetails(id));
  }

  start() {
    const { model, view, query, grid, details, loading, trial } = this;
    fill(view.body,
      query.element, this.notice,
      h("div.row.bar-line", {}, this.status, this.resumeButton, h("span.grow"), query.sort,
        h("button", { type: "button", onclick: () => this.saveTable() }, view.words("save_csv"))),
      h("div.main", {}, grid.element, details.element),
      loading.element, loading.failure, trial.element, this.linked);
    this.listen();
    query.show();
    this.showLoading();
    this.showProblem();
    this.showLoaded();
    grid.choose(model.get("selected"));
    this.search.search().then(() => { if (model.get("selected") && details.id) this.askFirstDetails(details.id); });
  }

  listen() {
    const { view, query, search, details } = this, searchSoon = debounced(30, () => search.search());
    for (const name of QUESTION) view.on(`change:${name}`, () => { query.show(); searchSoon(); });
    view.on("change:selected", () => this.onSelected());
    view.on("change:_loading", () => this.showLoading());
    view.on("change:_problem", () => this.showProblem());
    for (const name of ["_loaded", "_linked", "picked"]) view.on(`change:${name}`, () => this.showLoaded());
    view.on("change:_cache", () => { search.search(); if (details.id) this.askDetailsSoon(details.id); });
    view.later(() => { search.end(); query.stop(); searchSoon.stop(); this.askDetailsSoon.stop(); });
  }

  put(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  // Models found ----------------------------------------------------------------------------------------------------

  showRows(fromTop) {
    this.grid.show(this.search.ordered, this.model.get("sort"), fromTop);
    const selected = this.search.row(this.model.get("selected"));
    if (selected && this.details.id !== selected.id) this.details.look(selected);
  }

  showState() {
    const { words } = this.view, { isPaused, isDone, problem } = this.search;
    this.status.textContent = this.stateText();
    this.resumeButton.hidden = !(isPaused && !isDone);
    this.notice.hidden = !problem;
    if (!problem) return;
    fill(this.notice, h("span", {}, h("b", {}, words("hub_left_out")), " ", problem.what, problem.next_step ? ` → ${problem.next_step}` : ""),
      h("button", { type: "button", onclick: () => this.search.search(true) }, words("try_again")));
  }

  stateText() {
    const { words } = this.view, { rows, isPaused, isDone, problem, scanned } = this.search;
    const count = number => ({ count: this.format.number(number) });
    if (!rows.length && !isDone && isPaused && scanned) return words("nothing_yet", count(scanned));
    if (!rows.length) return words(isDone || isPaused ? "nothing" : "searching");
    const there = rows.filter(row => row.source === "hub").length;
    const parts = [words("count_here", count(rows.length - there))];
    if (!problem || there) parts.push(words(isDone ? "count_hub" : "count_hub_so_far", count(there)));
    if (!isDone && scanned > rows.length) parts.push(words("scanned", count(scanned)));
    return parts.join(" · ");
  }

  saveTable() {
    const lines = this.search.ordered.map(row => TABLE.map(key => csvCell(row[key])).join(","));
    download("models.csv", "text/csv", `${[TABLE.join(","), ...lines].join("\n")}\n`);
  }

  // Details -------------------------------------------------------------------------------------------------

  look(row) {
    this.details.look(row);
    if (this.model.get("selected") !== row.id) this.put("selected", row.id);
    this.askDetailsSoon(row.id);
  }

  onSelected() {
    const id = this.model.get("selected"), row = this.search.row(id);
    this.grid.choose(id);
    if (!row || this.details.id === id) return;
    this.details.look(row);
    this.askDetailsSoon(id);
  }

  /** The details of the model that is selected at the start, which come with the panel if they needed no network. */
  askFirstDetails(id) {
    const { details, cache } = this.model.get("_first") ?? {};
    if (details?.row.id === id && cache === this.model.get("_cache") && !this.model.offline) this.setDetails(details);
    else this.askDetails(id);
  }

  async askDetails(id) {
    const result = await this.view.ask("details", { id });
    if (this.search.isEnded) return;
    if (result) this.setDetails(result.values);
    else if (this.details.id === id) this.details.fail();
  }

  setDetails(known) {
    this.details.setKnown(known);
    const row = this.search.row(known.row.id);
    if (!row) return;
    Object.assign(row, known.row);
    this.grid.redraw();
  }

  async delete(row) {
    const result = await this.view.ask("delete", { id: row.id });
    if (result) this.status.textContent = this.view.words("deleted", { id: row.id, size: this.format.size(result.values.freed) });
  }

  // Loading -----------------------------------------------------------------------------------------------------------

  showLoading() {
    const load = this.model.get("_loading") ?? {}, hadFocus = this.loading.element.contains(document.activeElement);
    this.loading.show(load);
    this.details.setLoading(Boolean(load.id));
    if (!load.id && hadFocus) this.grid.focus();
  }

  showProblem() {
    this.loading.showProblem(this.model.get("_problem") ?? {});
  }

  showLoaded() {
    this.trial.set(this.model.get("_loaded") ?? {});
    const count = this.model.get("_linked"), key = this.model.get("picked") ? "linked_now" : "linked";
    this.linked.textContent = count ? this.view.words(key, { count: this.format.number(count) }) : "";
  }
}

/** A value as a cell of a CSV file. A quote in front keeps spreadsheets from running text as a formula. */
function csvCell(value) {
  const text = String(Array.isArray(value) ? value.join(" ") : value ?? "");
  return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}
