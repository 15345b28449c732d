// TrainingDashboard: the progress of a run, its metrics as small charts, one large chart, and buttons that control the run.

import { debounced, fill, h, startView } from "../shared/common.js";
import { saveSVG } from "../shared/pictures.js";
import { BranchForm } from "./branch.js";
import { Chart } from "./chart.js";
import { RunHead } from "./controls.js";
import { Folds } from "./folds.js";
import { Legend } from "./legend.js";
import { marksOf } from "./marks.js";
import { groupsOf, linesFor, nameOf } from "./metrics.js";
import { pictureOf } from "./picture.js";
import { Probes } from "./probes.js";
import { Rows } from "./rows.js";
import { ChartSettings } from "./settings.js";
import { RunStore, seriesFrom } from "./store.js";
import { Tiles } from "./tiles.js";
import { Tree } from "./tree.js";

export default {
  render({ model, el }) {
    let end = trainingDashboard(model, el);
    const again = () => { end(); end = trainingDashboard(model, el); };   // most texts are only written when the view is built
    model.on("change:_language", again);
    return () => { model.off("change:_language", again); end(); };
  },
};

/** Choices that no trait holds, kept between views: a finished run is displayed again in the same place. */
const chosen = { hidden: new Set(), zoom: null, open: new Set() };

function trainingDashboard(model, el) {
  const view = startView(model, el, "training_dashboard");
  new TrainingDashboard(model, view).start();
  return () => view.end();
}

class TrainingDashboard {
  constructor(model, view) {
    Object.assign(this, { model, view, words: view.words });
    this.detail = null;            // the visible range in finer buckets, while zoomed in
    this.isEnded = this.isWaiting = false;
    this.paintedAt = 0;
    this.store = new RunStore(model, () => this.schedule());
    this.head = new RunHead(view, (request, value) => this.control(request, value));
    this.problem = h("div.error", { role: "alert", hidden: true });
    this.tiles = new Tiles(view, chosen.open, group => this.put("shown", group));
    this.settings = new ChartSettings(view, {
      onSet: (name, value) => this.put(name, value),
      onZoom: times => (times === null ? this.chart.zoomTo(null) : this.chart.zoomBy(times)),
      onSave: type => this.savePicture(type),
    });
    this.legend = new Legend(view, chosen.hidden, () => this.schedule());
    this.chart = new Chart(view, { onZoom: () => this.onZoom(), onPick: step => this.onPick(step) });
    this.alerts = h("div", { role: "status", hidden: true }, h("ul.td-alerts", { "aria-label": this.words("alerts") }));
    this.rows = new Rows(view, step => view.ask("rows", { step }));
    this.tree = new Tree(view);
    this.branch = new BranchForm(view, (kind, values) => view.ask(kind, values));
    this.hint = h("p.faint.td-hint");
    this.probes = new Probes(view, (kind, values) => view.ask(kind, values));
    this.folds = new Folds(view, chosen.open, () => this.drawTable());
    this.empty = h("p.td-empty.faint", {}, this.words("nothing_yet"));
    this.main = h("div.td-main", {}, this.settings.element, this.legend.element, this.chart.element, this.hint, this.rows.element);
    this.askDetail = debounced(200, () => this.requestDetail());
  }

  start() {
    const { view, chart } = this;
    view.body.append(this.head.element, this.problem, this.alerts, this.empty, this.tiles.element, this.main, this.tree.element, this.probes.element, this.branch.element, this.folds.element);
    for (const name of ["shown", "log_scale", "smoothing", "axis", "_hears", "_problem", "_strings"]) view.on(`change:${name}`, () => this.schedule());
    view.on("change:axis", () => { if (chart.zoom) chart.zoomTo(null); });
    const clock = setInterval(() => this.tick(), 1000);
    view.later(() => { this.isEnded = true; clearInterval(clock); this.settings.end(); this.askDetail.stop(); });
    this.store.start(view);
    this.draw();
    if (chosen.zoom && chart.frame) chart.zoomTo(chosen.zoom);
  }

  trait(name) {
    return this.model.get(name);
  }

  put(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  async control(request, value) {
    const values = request === "learning_rate" ? { do: request, value } : { do: request };
    const answer = await this.view.ask("control", values, `control ${request}`);
    if (!answer || !this.store.main) return;
    this.store.main.live.pending = answer.values.pending;
    this.schedule();
  }

  // Drawing ---------------------------------------------------------------------------------------------------------------

  /** The metric in the large chart: the selected one, or the first if that does not exist. */
  get group() {
    const groups = this.store.main ? groupsOf(this.store.runs) : [];
    return groups.includes(this.trait("shown")) ? this.trait("shown") : groups[0] ?? this.trait("shown");
  }

  schedule() {
    if (this.isWaiting || this.isEnded) return;
    this.isWaiting = true;
    requestAnimationFrame(() => { this.isWaiting = false; this.draw(); });
  }

  /** Keep the remaining time running between two messages. */
  tick() {
    const isGoing = ["running", "paused", "stopping"].includes(this.store.main?.live.status);
    if (!this.isEnded && isGoing && performance.now() - this.paintedAt > 900) this.drawHead(false);
  }

  draw() {
    if (this.isEnded) return;
    this.paintedAt = performance.now();
    const { main: run, runs } = this.store, { group } = this, hasSeries = runs.some(one => one.series.size);
    const lines = linesFor(runs, group, this.words), marks = marksOf(this.words, run);
    this.drawHead(true);
    this.drawProblem();
    this.empty.hidden = hasSeries;
    this.main.hidden = this.folds.table.hidden = !hasSeries;
    this.tiles.draw(run, group);
    this.legend.draw(lines);
    this.drawChart(group, lines, marks);
    this.view.root.dataset.step = String(run?.live.step ?? 0);
    this.folds.drawTable(lines);
    this.folds.drawEvents(marks);
    this.folds.drawFacts(run);
    this.probes.draw(run);
    this.rows.draw(run);
    this.tree.draw(runs);
    this.branch.draw(run);
    this.drawAlerts(marks);
    this.hint.textContent = [this.words("chart_hint"), this.canPick() ? this.words("rows_hint") : ""].join(" ").trim();
  }

  drawAlerts(marks) {
    const alerts = marks.filter(mark => mark.kind === "alert");
    this.alerts.hidden = !alerts.length;
    const list = this.alerts.firstChild;
    if (list.childElementCount === alerts.length) return;
    fill(list, alerts.map(mark => h("li", {}, h("span", { "aria-hidden": "true" }, "⚑ "), h("bdi", {}, `${this.words("step_at", { step: mark.step.toLocaleString("en") })}: ${mark.text}`))));
  }

  /** Whether the rows behind a point can be shown. */
  canPick() {
    return this.store.main?.live.can?.rows === "" && !this.model.offline;
  }

  onPick(step) {
    if (this.canPick()) this.rows.open(step);
  }

  drawHead(isNew) {
    this.head.draw(this.store.main, { hears: this.trait("_hears"), silence: this.store.silence, isNew, offline: Boolean(this.model.offline) });
  }

  drawProblem() {
    const { what, next_step: next } = this.trait("_problem") ?? {};
    this.problem.hidden = !what;
    fill(this.problem, what ? [h("p.what", {}, what), next ? h("p.next", {}, "→ ", next) : null] : null);
  }

  drawChart(group, lines, marks) {
    const title = nameOf(this.words, group), log = this.trait("log_scale"), axis = this.trait("axis"), weight = this.trait("smoothing");
    this.settings.draw(title, { smoothing: weight, log, axis });
    const shown = lines.filter(one => !chosen.hidden.has(one.key)).map(one => ({ ...one, series: this.finest(one, group) }));
    this.chart.draw({ lines: shown, marks, weight, log, axis, name: group, title });
  }

  drawTable() {
    this.folds.drawTable(linesFor(this.store.runs, this.group, this.words));
  }

  // Zoom ------------------------------------------------------------------------------------------------------------------

  onZoom() {
    chosen.zoom = this.chart.zoom;
    this.detail = null;
    this.askDetail();
    this.settings.reset.disabled = !this.chart.zoom;
  }

  /** The series of a line, or its part with finer buckets in the current zoom. */
  finest({ run, name, series }, group) {
    const { detail, chart, store } = this;
    if (!detail || !chart.zoom || detail.group !== group || String(detail.zoom) !== String(chart.zoom)) return series;
    const fine = detail.runs[store.runs.indexOf(run)]?.get(name);
    return fine?.size && fine.width < series.width ? fine : series;
  }

  /** Whether Python can send finer buckets for the visible range. */
  canRequestDetail() {
    const hears = this.trait("_hears");
    if (!this.chart.zoom || this.model.offline || hears === "none") return false;
    if (hears === "after" && this.store.main?.live.status !== "ended") return false;
    return linesFor(this.store.runs, this.group, this.words).some(one => one.series.width > 1);
  }

  async requestDetail() {
    if (!this.canRequestDetail()) return;
    const { zoom } = this.chart, { group } = this;
    const answer = await this.view.ask("detail", { names: [group, `eval_${group}`], from: zoom[0], to: zoom[1], by: this.trait("axis") });
    if (!answer || String(this.chart.zoom) !== String(zoom)) return;
    this.detail = { group, zoom, runs: answer.values.runs.map((described, i) => seriesFrom(described, answer.buffers[i])) };
    this.schedule();
  }

  savePicture(type) {
    const picture = pictureOf({
      name: this.store.main?.name ?? "", line: this.head.line.textContent, heading: this.settings.heading.textContent,
      keys: this.legend.shown, chart: this.chart, style: getComputedStyle(this.view.root),
    });
    saveSVG(picture, `training-${this.group.replace(/[^\w-]+/g, "_")}`, type);
  }
}
