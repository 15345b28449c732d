// ModelPicker: one search over the zoo, the cache and the Hub; the model that is looked at; its loading; a box to try it in.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { modelDetails } from "./details.js";
import { modelRows } from "./rows.js";
import { modelTrial } from "./trying.js";
import { pickerWords } from "./words.js";

const ASKED = ["text", "task", "language", "licence", "max_bytes", "runs_here", "sort"];
const SIZES = [100e6, 500e6, 1e9, 5e9];
const LICENCES = ["apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0", "openrail", "other"];
const LANGUAGES = ["en", "te", "hi", "ta", "kn", "ml", "bn", "mr", "ur", "zh", "ja", "ko", "ar", "de", "es", "fr", "it", "pt", "ru", "multilingual"];
const ROUNDS = 3;   // pages that a question may ask for by itself, until there are rows to fill the window

export default { render({ model, el }) {
  let end = modelPicker(model, el);
  const again = () => { end(); end = modelPicker(model, el); };   // most words are written once
  model.on("change:_language", again);
  return () => { model.off("change:_language", again); end(); };
} };

function modelPicker(model, el) {
  const view = startView(model, el, "model_picker");
  const { words } = view;
  const tell = pickerWords(model, words);
  const save = () => model.save_changes();
  let of = null, rows = [], order = null, done = true, going = false, paused = false, rounds = 0, scanned = 0, problem = null, ended = false, turns = 0, saved = null;

  // The question ------------------------------------------------------------------------------------------------------

  const put = values => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    save();
  };
  /** All controls at once, so that what was just typed is not lost when another one changes. */
  const change = () => {
    typed.stop();
    put({
      ...Object.fromEntries(["text", "language", "licence"].map(name => [name, controls[name].value.trim()])),
      task: controls.task.value, max_bytes: Number(controls.max_bytes.value), runs_here: controls.runs_here.checked, sort: controls.sort.value,
    });
  };
  const typed = debounced(300, change);
  const id = `nk-picker-${Math.random().toString(36).slice(2)}`;
  const option = (value, label) => h("option", { value }, label);
  const labelled = (key, control) => h("label.labelled", {}, h("span", {}, words(key)), control);
  const controls = {
    text: h("input.search", { type: "search", placeholder: words("search_place"), "aria-label": words("search"), autocomplete: "off", spellcheck: "false",
      oninput: () => typed() }),
    task: h("select", { onchange: change },
      option("", words("any")), (model.get("_tasks") ?? []).map(name => option(name, tell.task(name)))),
    language: h("input.code", { list: `${id}-languages`, placeholder: words("any"), autocomplete: "off", spellcheck: "false", oninput: () => typed() }),
    licence: h("input.code", { list: `${id}-licences`, placeholder: words("any"), autocomplete: "off", spellcheck: "false", oninput: () => typed() }),
    max_bytes: h("select", { onchange: change },
      option("0", words("any_size")), SIZES.map(bytes => option(String(bytes), words("up_to", { size: tell.size(bytes) })))),
    runs_here: h("input", { type: "checkbox", onchange: change }),
    sort: h("select", { onchange: change }, ["downloads", "likes", "date", "name", "size"].map(name => option(name, words(`sort_${name}`)))),
  };
  const showControls = () => {
    for (const name of ["text", "language", "licence"])
      if (controls[name] !== document.activeElement && !(controls[name].getRootNode().activeElement === controls[name])) controls[name].value = model.get(name);
    const most = String(model.get("max_bytes"));
    if (![...controls.max_bytes.options].some(one => one.value === most)) controls.max_bytes.append(option(most, words("up_to", { size: tell.size(Number(most)) })));
    controls.task.value = model.get("task");
    controls.max_bytes.value = most;
    controls.runs_here.checked = model.get("runs_here");
    controls.sort.value = model.get("sort");
  };
  const question = () => Object.fromEntries(ASKED.map(name => [name, model.get(name)]));

  // Asking ----------------------------------------------------------------------------------------------------------------

  const take = (values, fromTop) => {
    if (values.gone) return search();
    of = values.of;
    if (fromTop) rows = values.rows;
    else rows.splice(values.from, Infinity, ...values.rows);
    for (const [place, row] of values.changed) if (rows[place]) rows[place] = row;
    order = values.order;
    done = values.done || Boolean(model.offline);
    scanned = values.scanned;
    problem = values.problem;
    list.show(rows, order, model.get("sort"), fromTop);
    const seen = rows.find(row => row.id === model.get("selected"));
    if (seen && details.id !== seen.id) details.look(seen);
    return say();
  };
  /** In a file on disk: what was saved, narrowed and put in order here. */
  const searchSaved = () => {
    const now = question(), spelled = now.text.toLowerCase().split(/\s+/).filter(Boolean), letters = row => row.id.split("/").pop().toLowerCase();
    rows = saved.filter(row => spelled.every(word => row.id.toLowerCase().includes(word)) && (!now.task || row.task === now.task)
      && (!now.language || row.languages.includes(now.language)) && (!now.licence || row.licence === now.licence)
      && (!now.max_bytes || (row.size ?? 0) <= now.max_bytes) && (!now.runs_here || (!row.obstacle && row.fits !== false)));
    const orders = {
      name: (a, b) => letters(a).localeCompare(letters(b)), size: (a, b) => (a.size ?? Infinity) - (b.size ?? Infinity),
      downloads: (a, b) => (b.downloads ?? Infinity) - (a.downloads ?? Infinity), likes: (a, b) => (b.likes ?? Infinity) - (a.likes ?? Infinity),
      date: (a, b) => (b.date || "9").localeCompare(a.date || "9"),   // what is here and has no counts stays in front
    };
    order = null;
    rows.sort(orders[now.sort]);
    list.show(rows, order, now.sort, true);
    say();
  };
  const search = async (anew = false) => {
    if (saved) return searchSaved();
    const turn = ++turns;
    rounds = 0;
    paused = false;
    going = true;
    view.cancel("more");
    const result = await view.ask("search", anew ? { ...question(), anew } : question());
    if (ended || turn !== turns) return;
    going = false;
    if (!result) { of = null; paused = true; done = false; say(); return; }
    take(result.values, true);
    if (model.offline) saved = [...rows];
    more();
  };
  const more = async () => {
    if (ended || going || done || paused || of === null) return;
    const turn = turns, before = rows.length;
    going = true;
    say();
    const result = await view.ask("more", { of, from: before, sort: model.get("sort") });
    if (ended || turn !== turns) return;
    going = false;
    if (!result) { paused = true; say(); return; }
    rounds = result.values.rows?.length ? 0 : rounds + 1;
    take(result.values, false);
    if (rows.length === before && !done) { paused = rounds >= ROUNDS; say(); more(); }
  };
  const goOn = () => { paused = false; rounds = 0; if (of === null) search(); else more(); };

  // What was found --------------------------------------------------------------------------------------------------------

  const status = h("p.status", { role: "status", "aria-live": "polite" });
  const notice = h("div.notice", { role: "status", hidden: true });
  const continuing = h("button", { type: "button", hidden: true, onclick: goOn }, words("search_on"));
  const say = () => {
    const here = rows.filter(row => row.source !== "hub").length, there = rows.length - here;
    const parts = [words("count_here", { count: tell.number(here) })];
    if (!problem || there) parts.push(words(done ? "count_hub" : "count_hub_so_far", { count: tell.number(there) }));
    if (!done && scanned > there + here) parts.push(words("scanned", { count: tell.number(scanned) }));
    status.textContent = rows.length ? parts.join(" · ") : done || paused ? words("nothing") : words("searching");
    if (!rows.length && !done && paused && scanned) status.textContent = words("nothing_yet", { count: tell.number(scanned) });
    continuing.hidden = !(paused && !done);
    notice.hidden = !problem;
    if (problem)
      fill(notice, h("span", {}, h("b", {}, words("hub_left_out")), " ", problem.what, problem.next_step ? ` → ${problem.next_step}` : ""),
        h("button", { type: "button", onclick: () => search(true) }, words("try_again")));
  };

  // What is looked at -------------------------------------------------------------------------------------------------------

  const askDetails = async name => {
    const result = await view.ask("details", { id: name });
    if (ended) return;
    if (!result) { if (details.id === name) details.fail(); return; }
    details.tell(result.values);
    list.update(name, result.values.row);
  };
  const askDetailsSoon = debounced(200, askDetails);
  const look = row => {
    details.look(row);
    if (model.get("selected") !== row.id) put({ selected: row.id });
    askDetailsSoon(row.id);
  };
  const list = modelRows(view, tell, {
    onLook: look,
    onOpen: () => details.focusLoad(),
    onSort: by => { controls.sort.value = by; change(); },
    onNear: () => queueMicrotask(more),
  });
  const details = modelDetails(view, tell, {
    onLoad: row => view.ask("load", { id: row.id, task: row.task || null }),
    onDelete: async row => {
      const result = await view.ask("delete", { id: row.id });
      if (result) status.textContent = words("deleted", { id: row.id, size: tell.size(result.values.freed) });
    },
  });

  // Loading and trying ------------------------------------------------------------------------------------------------------

  const bar = h("progress.progress", { "aria-label": words("loading") });
  const how = h("span.how");
  const stop = h("button", { type: "button", onclick: () => view.ask("stop") }, words("cancel"));
  const loading = h("div.loading", { hidden: true }, how, bar, stop);
  const onLoading = () => {
    const now = model.get("_loading") ?? {}, is = Boolean(now.id), had = loading.contains(document.activeElement);
    loading.hidden = !is;
    details.setLoading(is);
    if (!is) { if (had) list.focus(); return; }
    const fetching = now.stage === "fetch" && now.total > 0;
    if (fetching) { bar.max = now.total; bar.value = now.done; } else { bar.removeAttribute("value"); }
    fill(how, words(now.stage === "load" ? "loading_memory" : fetching ? "loading_bytes" : "loading_begins", { done: tell.size(now.done), total: tell.size(now.total) }), " ", h("bdi", {}, now.id));
  };
  const failure = h("div.error", { role: "alert", hidden: true });
  const onProblem = () => {
    const now = model.get("_problem") ?? {};
    failure.hidden = !now.what;
    fill(failure, h("p.what", {}, now.what ?? ""), now.next_step ? h("p.next", {}, "→ ", now.next_step) : null,
      h("button.plain", { type: "button", "aria-label": words("dismiss"), onclick: () => { put({ _problem: {} }); } }, "×"));
  };
  const trial = modelTrial(view, tell, values => view.ask("try", { values }));
  const linked = h("p.faint.linked");
  const onLoaded = () => {
    trial.set(model.get("_loaded") ?? {});
    const count = model.get("_linked");
    linked.textContent = count ? words(model.get("picked") ? "linked_now" : "linked", { count: tell.number(count) }) : "";
  };

  const saveTable = () => {
    const keys = ["id", "source", "task", "model_type", "parameters", "fetch_bytes", "cached_bytes", "licence", "languages", "downloads", "likes", "date", "gated", "obstacle"];
    // A cell that begins like a formula would be one in a spreadsheet.
    const cell = value => { const text = String(Array.isArray(value) ? value.join(" ") : value ?? ""); return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`; };
    const lines = (order ?? rows.map((_, place) => place)).map(place => keys.map(key => cell(rows[place][key])).join(","));
    download("models.csv", "text/csv", `${[keys.join(","), ...lines].join("\n")}\n`);
  };

  // The whole ---------------------------------------------------------------------------------------------------------------

  const codes = (name, values) => h("datalist", { id: `${id}-${name}` }, values.map(value => option(value, value)));
  fill(view.body,
    h("form.query", { role: "search", "aria-label": words("search"), onsubmit: event => { event.preventDefault(); change(); } },
      controls.text,
      h("div.filters", {},
        labelled("task", controls.task), labelled("language", controls.language), labelled("licence", controls.licence), labelled("size", controls.max_bytes),
        h("label.check", { title: words("runs_here_title") }, controls.runs_here, h("span", {}, words("runs_here"))),
        codes("languages", LANGUAGES), codes("licences", LICENCES))),
    notice,
    h("div.row.bar-line", {}, status, continuing, h("span.grow"), labelled("sort", controls.sort), h("button", { type: "button", onclick: saveTable }, words("save_csv"))),
    h("div.main", {}, list.element, details.element),
    loading, failure, trial.element, linked);

  const asked = debounced(30, () => search());
  for (const name of ASKED) {
    view.on(`change:${name}`, () => { showControls(); asked(); });
  }
  view.on("change:selected", () => {
    const name = model.get("selected"), row = rows.find(one => one.id === name);
    list.choose(name);
    if (row && details.id !== name) { details.look(row); askDetailsSoon(name); }
  });
  view.on("change:_loading", onLoading);
  view.on("change:_problem", onProblem);
  view.on("change:_loaded", onLoaded);
  view.on("change:_linked", onLoaded);
  view.on("change:picked", onLoaded);
  view.on("change:_cache", () => { search(); if (details.id) askDetailsSoon(details.id); });
  view.later(() => { ended = true; typed.stop(); asked.stop(); askDetailsSoon.stop(); });
  showControls();
  onLoading();
  onProblem();
  onLoaded();
  list.choose(model.get("selected"));
  search().then(() => { if (model.get("selected") && details.id) askDetails(details.id); });
  return () => view.end();
}
