// TrainingDashboard: where a run stands, its metrics as small charts, one of them large, and buttons that reach the run.

import { SVG, debounced, fill, h, s, startView } from "../shared/common.js";
import { takeAway } from "../shared/pictures.js";
import { TD_MARKS, chartView, standalone, swatch } from "./chart.js";
import { headView } from "./controls.js";
import { probesView } from "./probes.js";
import { lastText, readableNumber, runStore, seriesFrom, withUnit } from "./store.js";
import { groupsOf, linesFor, nameOf, tilesView } from "./tiles.js";

export default {
  render({ model, el }) {
    let end = trainingDashboard(model, el);
    const again = () => { end(); end = trainingDashboard(model, el); };   // most words are written once
    model.on("change:_language", again);
    return () => { model.off("change:_language", again); end(); };
  },
};

/** What a reader has chosen that no trait holds: at its end a run shows itself anew, in the same place. */
const chosen = { hidden: new Set(), zoom: null, open: new Set() };

function trainingDashboard(model, el) {
  const view = startView(model, el, "training_dashboard");
  const { words } = view;
  const trait = name => model.get(name);
  const put = values => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const { hidden } = chosen;             // lines that the reader has switched off
  let detail = null, ended = false, waiting = false, painted = 0;

  const store = runStore(model, () => schedule());
  const head = headView(view, async (request, value) => {
    const answer = await view.ask("control", request === "learning_rate" ? { do: request, value } : { do: request }, `control ${request}`);
    if (answer && store.main) { store.main.live.pending = answer.values.pending; schedule(); }
  });
  const problem = h("div.error", { role: "alert", hidden: true });
  const tiles = tilesView(view, group => put({ shown: group }));
  const chart = chartView(view, { onZoom: () => { chosen.zoom = chart.zoom; detail = null; askDetail(); resetButton.disabled = !chart.zoom; } });
  const probes = probesView(view, (kind, values) => view.ask(kind, values));

  // The bar above the chart -------------------------------------------------------------------------------------------------

  const heading = h("h3.td-heading");
  const weight = h("input", { type: "range", min: "0", max: "100", step: "1", "aria-label": words("smoothing"),
    oninput: () => { settle(weightOf(Number(weight.value))); weightSaid.textContent = weightOf(Number(weight.value)).toFixed(2); } });
  const weightSaid = h("output.td-weight");
  // What matters is how many points an average spans, 1 / (1 - weight): even steps of the slider are even steps of its logarithm.
  const weightOf = place => Number((1 - 10 ** (-place / 100 * 2.5)).toFixed(4));
  const placeOfWeight = value => Math.round(-Math.log10(1 - Math.min(0.9968, value)) / 2.5 * 100);
  const settle = debounced(30, value => put({ smoothing: value }));
  const log = h("input", { type: "checkbox", onchange: () => put({ log_scale: log.checked }) });
  const axis = h("select", { "aria-label": words("axis"), onchange: () => put({ axis: axis.value }) },
    ["step", "time"].map(value => h("option", { value }, words(`axis_${value}`))));
  const resetButton = h("button", { type: "button", disabled: true, onclick: () => chart.zoomTo(null) }, words("zoom_reset"));
  const zoomButtons = [["zoom_out", "−", 1 / 0.6], ["zoom_in", "+", 0.6]].map(([name, sign, times]) =>
    h("button.td-small", { type: "button", "aria-label": words(name), title: words(name), onclick: () => chart.zoomBy(times) }, sign));
  const exports = h("span.td-export", {}, ["png", "svg"].map(type =>
    h("button", { type: "button", "aria-label": `${words("export")} ${type.toUpperCase()}`, onclick: () => picture(type) }, type.toUpperCase())));
  const bar = h("div.row.td-bar-row", {}, heading, h("span.td-space"),
    h("label.td-check", {}, h("span", {}, words("smoothing")), weight, weightSaid),
    h("label.td-check", {}, log, h("span", {}, words("log_scale"))),
    h("label.td-check", {}, h("span", {}, words("axis")), axis),
    h("span.td-zoom", {}, zoomButtons, resetButton), exports);
  const legend = h("div.row.td-legend", { role: "group", "aria-label": words("legend") });
  const hint = h("p.faint.td-hint", {}, words("chart_hint"));
  const table = h("details.td-fold", { ontoggle: () => drawTable() }, h("summary", {}, words("as_table")), h("div.scroll.td-tall", { tabindex: "0", role: "region", "aria-label": words("as_table") }));
  const events = h("details.td-fold", { hidden: true }, h("summary"), h("ol.td-events"));
  const facts = h("details.td-fold", { hidden: true }, h("summary", {}, words("settings")), h("div.scroll", { tabindex: "0", role: "region", "aria-label": words("settings") }));
  Object.entries({ table, events, facts }).forEach(([name, fold]) => {
    fold.open = chosen.open.has(name);
    fold.addEventListener("toggle", () => (fold.open ? chosen.open.add(name) : chosen.open.delete(name)));
  });
  const empty = h("p.td-empty.faint", {}, words("nothing_yet"));
  const main = h("div.td-main", {}, bar, legend, chart.element, hint);
  view.body.append(head.element, problem, empty, tiles.element, main, probes.element, h("div.td-folds", {}, events, table, facts));

  // Drawing ---------------------------------------------------------------------------------------------------------------

  const shownGroup = () => {
    const groups = store.main ? groupsOf(store.runs) : [];
    return groups.includes(trait("shown")) ? trait("shown") : groups[0] ?? trait("shown");
  };
  const text = value => (typeof value === "number" ? readableNumber(value) : String(value ?? ""));
  const marksOf = run => (run?.events ?? []).map(event => {
    const key = event.kind === "learning_rate" && event.with.replayed ? "event_learning_rate_again" : `event_${event.kind}`;
    const values = Object.fromEntries(Object.entries(event.with).map(([name, value]) => [name, text(value)]));
    if (event.kind === "evaluate") values.metrics = Object.entries(event.with.metrics ?? {}).filter(([name]) => !/_runtime|_per_second|epoch/.test(name)).map(([name, value]) => `${name} ${text(value)}`).join(", ");
    if (event.kind === "end") { values.reason = words(`end_${String(event.with.reason ?? "finished").replaceAll(" ", "_")}`); values.kept = event.with.kept === "best checkpoint" ? words("kept_best", { checkpoint: text(event.with.checkpoint).split("/").at(-1), metric: text(event.with.metric), value: text(event.with.value) }) : event.with.kept ? words("kept_present") : ""; }
    const said = words(key, values);
    return { ...event, text: said === key ? [event.kind, ...Object.values(values)].join(" ") : said.replace(/\{\w+\}/g, "").trim() };
  });

  const drawLegend = lines => {
    const want = JSON.stringify(lines.map(one => [one.key, one.label]));
    if (legend.dataset.lines !== want) {
      legend.dataset.lines = want;
      fill(legend, lines.map(one => h("button.td-key", { type: "button", "data-key": one.key, onclick: () => {
        if (!hidden.delete(one.key)) hidden.add(one.key);
        schedule();
      } }, swatch(one), h("bdi", {}, one.label), h("span.td-last"))));
    }
    [...legend.children].forEach((button, i) => {
      const one = lines[i], parts = [lastText(words, one.series)];
      if (one.best) parts.push(words("best_at", { value: withUnit(one.name, one.best[0]), step: one.best[1].toLocaleString("en") }));
      button.lastChild.textContent = parts.join(" · ");
      button.setAttribute("aria-pressed", String(!hidden.has(one.key)));
    });
    legend.hidden = !lines.length;
  };
  const drawTable = () => {
    if (!table.open) return;
    const lines = linesFor(store.runs, shownGroup(), words), rows = new Map();
    for (const [k, one] of lines.entries()) {
      const stride = Math.max(1, Math.ceil(one.series.size / 60));
      for (let i = one.series.size - 1; i >= 0; i -= stride) {
        const step = one.series.step[i];
        if (!rows.has(step)) rows.set(step, []);
        rows.get(step)[k] = one.series.bad[i] && !Number.isFinite(one.series.mean[i]) ? words("not_finite_short") : withUnit(one.name, one.series.mean[i]);
      }
    }
    const box = table.lastChild, scroll = box.scrollTop;
    fill(box, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("step")), lines.map(one => h("th", { scope: "col" }, h("bdi", {}, one.label))))),
      h("tbody", {}, [...rows].sort(([a], [b]) => b - a).map(([step, cells]) => h("tr", {}, h("th", { scope: "row" }, step.toLocaleString("en")), lines.map((_, k) => h("td", {}, cells[k] ?? "")))))));
    box.scrollTop = scroll;
  };
  const drawEvents = marks => {
    const told = marks.filter(mark => mark.text);
    events.hidden = !told.length;
    const want = `${told.length} ${told.at(-1)?.step}`;
    if (events.dataset.drawn === want) return;
    events.dataset.drawn = want;
    events.firstChild.textContent = words("events", { count: told.length });
    fill(events.lastChild, told.slice(-100).reverse().map(mark => h("li", { "data-kind": mark.kind }, h("span.td-event-sign", { "aria-hidden": "true" }, TD_MARKS[mark.kind] ?? "•"),
      h("span.faint", {}, `${words("step_at", { step: mark.step.toLocaleString("en") })} `), h("bdi", {}, mark.text))));
  };
  const drawFacts = run => {
    const told = Object.entries(run?.facts ?? {}).flatMap(([name, value]) => (value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [[name, value]]))
      .filter(([name, value]) => name !== "probes" && value !== null && value !== "");
    facts.hidden = !told.length;
    const want = JSON.stringify(told);
    if (facts.dataset.drawn === want) return;
    facts.dataset.drawn = want;
    fill(facts.lastChild, h("table", {}, h("tbody", {}, told.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, h("bdi", {}, name)), h("td", {}, h("bdi", {}, text(value))))))));
  };

  const drawHead = ticking => head.draw(store.main, { hears: trait("_hears"), silence: store.silence(), ticking, offline: !!model.offline });
  const draw = () => {
    if (ended) return;
    painted = performance.now();
    const { main: run, runs } = store, group = shownGroup(), some = runs.some(one => one.series.size);
    drawHead(true);
    const { what, next_step: next } = trait("_problem") ?? {};
    problem.hidden = !what;
    fill(problem, what ? [h("p.what", {}, what), next ? h("p.next", {}, "→ ", next) : null] : null);
    empty.hidden = some;
    main.hidden = table.hidden = !some;
    tiles.draw(run, group);
    if (document.activeElement !== weight) { weight.value = String(placeOfWeight(trait("smoothing"))); weightSaid.textContent = trait("smoothing").toFixed(2); }
    log.checked = trait("log_scale");
    axis.value = trait("axis");
    const lines = linesFor(runs, group, words), marks = marksOf(run);
    heading.textContent = nameOf(words, group);
    drawLegend(lines);
    const fine = detail && chart.zoom && detail.group === group && String(detail.zoom) === String(chart.zoom) ? detail : null;
    const seen = lines.filter(one => !hidden.has(one.key)).map(one => {
      const series = fine?.runs[runs.indexOf(one.run)]?.get(one.name);
      return series && series.size && series.width < one.series.width ? { ...one, series } : one;
    });
    chart.draw({ lines: seen, marks, weight: trait("smoothing"), log: trait("log_scale"), axis: trait("axis"), name: group, title: nameOf(words, group) });
    view.root.dataset.step = String(run?.live.step ?? 0);
    drawTable();
    drawEvents(marks);
    drawFacts(run);
    probes.draw(run);
  };
  const schedule = () => {
    if (waiting || ended) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };

  /** Of a part that is looked at, what lies between the buckets. */
  const askDetail = debounced(200, async () => {
    const zoom = chart.zoom, group = shownGroup();
    if (!zoom || model.offline || trait("_hears") === "none" || (trait("_hears") === "after" && store.main?.live.status !== "ended")) return;
    if (!linesFor(store.runs, group, words).some(one => one.series.width > 1)) return;
    const answer = await view.ask("detail", { names: [group, `eval_${group}`], from: zoom[0], to: zoom[1], by: trait("axis") });
    if (!answer || String(chart.zoom) !== String(zoom)) return;
    detail = { group, zoom, runs: answer.values.runs.map((told, i) => seriesFrom(told, answer.buffers[i])) };
    schedule();
  });

  /** What is on the screen as one SVG: where the run stands, the lines' names, the chart. */
  const picture = type => {
    const copy = standalone(chart.svg), width = chart.frame.width, font = getComputedStyle(view.root).fontFamily;
    const ink = getComputedStyle(view.root).color, back = getComputedStyle(view.root).backgroundColor;
    const label = (x, y, words_, more = {}) => s("text", { x, y, fill: ink, "font-family": font, "font-size": 12, ...more }, words_);
    const parts = [label(12, 20, store.main?.name ?? "", { "font-weight": "bold", "font-size": 14 }), label(12, 38, head.element.querySelector(".nk-td-line").textContent), label(12, 60, heading.textContent, { "font-weight": "bold" })];
    let y = 78;
    for (const button of legend.children) {
      if (button.getAttribute("aria-pressed") !== "true") continue;
      const key = standalone(button.querySelector("svg"));
      key.setAttribute("x", "12");
      key.setAttribute("y", String(y - 9));
      parts.push(key, label(46, y, `${button.querySelector("bdi").textContent}  ${button.lastChild.textContent}`));
      y += 18;
    }
    copy.setAttribute("y", String(y));
    const height = y + chart.frame.height;
    takeAway(s("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, s("title", {}, `${store.main?.name ?? ""} · ${heading.textContent}`), s("rect", { width, height, fill: back }), parts, copy),
      `training-${shownGroup().replace(/[^\w-]+/g, "_")}`, type);
  };

  // Life ------------------------------------------------------------------------------------------------------------------

  for (const name of ["shown", "log_scale", "smoothing", "axis", "_hears", "_problem", "_strings"]) view.on(`change:${name}`, schedule);
  view.on("change:axis", () => { if (chart.zoom) chart.zoomTo(null); });
  const clock = setInterval(() => {                      // between two messages, the time that is left goes on
    if (!ended && ["running", "paused", "stopping"].includes(store.main?.live.status) && performance.now() - painted > 900) drawHead(false);
  }, 1000);
  view.later(() => { ended = true; clearInterval(clock); settle.stop(); askDetail.stop(); store.end(); });
  store.start();
  draw();
  if (chosen.zoom && chart.frame) chart.zoomTo(chosen.zoom);
  return () => view.end();
}
