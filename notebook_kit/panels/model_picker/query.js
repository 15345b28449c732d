// The search form: words in a name, filters, and a sort order, bound to the traits.

import { debounced, h } from "../shared/common.js";

/** The traits that a search depends on. */
export const QUESTION = ["text", "task", "language", "licence", "max_bytes", "runs_here", "sort"];

const TYPED = ["text", "language", "licence"];
const SORTS = ["downloads", "likes", "date", "name", "size"];
const SIZES = [100e6, 500e6, 1e9, 5e9];
const LICENCES = ["apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0", "openrail", "other"];
const LANGUAGES = ["en", "te", "hi", "ta", "kn", "ml", "bn", "mr", "ur", "zh", "ja", "ko", "ar", "de", "es", "fr", "it", "pt", "ru", "multilingual"];

/** The form; its `sort` control is placed separately. */
export class QueryForm {
  constructor(model, { words }, format, help) {
    Object.assign(this, { model, words, format });
    this.typed = debounced(300, () => this.change());
    this.id = `nk-picker-${Math.random().toString(36).slice(2)}`;
    this.controls = this.makeControls();
    this.sort = this.labelled("sort", this.controls.sort);
    this.element = this.form(help);
  }

  /** The current search. */
  get question() {
    return Object.fromEntries(QUESTION.map(name => [name, this.model.get(name)]));
  }

  /** Read all controls at once, so that text just typed is not lost when another control changes. */
  change() {
    this.typed.stop();
    const { task, max_bytes, runs_here, sort } = this.controls;
    const values = {   // read first: each change of a trait updates all controls
      ...Object.fromEntries(TYPED.map(name => [name, this.controls[name].value.trim()])),
      task: task.value, max_bytes: Number(max_bytes.value), runs_here: runs_here.checked, sort: sort.value,
    };
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  sortBy(order) {
    this.controls.sort.value = order;
    this.change();
  }

  /** Show the traits in the controls, except in the one being typed in. */
  show() {
    const { model, controls } = this;
    for (const name of TYPED) {
      const isTypedIn = controls[name] === document.activeElement || controls[name].getRootNode().activeElement === controls[name];
      if (!isTypedIn) controls[name].value = model.get(name);
    }
    const most = String(model.get("max_bytes"));
    if (![...controls.max_bytes.options].some(one => one.value === most)) controls.max_bytes.append(option(most, this.upTo(Number(most))));
    controls.task.value = model.get("task");
    controls.max_bytes.value = most;
    controls.runs_here.checked = model.get("runs_here");
    controls.sort.value = model.get("sort");
  }

  stop() {
    this.typed.stop();
  }

  makeControls() {
    const { words, format } = this, onchange = () => this.change(), oninput = () => this.typed();
    const code = list => h("input.code", { list: `${this.id}-${list}`, placeholder: words("any"), autocomplete: "off", spellcheck: "false", oninput });
    return {
      text: h("input.search", { type: "search", placeholder: words("search_place"), "aria-label": words("search"), autocomplete: "off", spellcheck: "false", oninput }),
      task: h("select", { onchange }, option("", words("any")), (this.model.get("_tasks") ?? []).map(name => option(name, format.task(name)))),
      language: code("languages"),
      licence: code("licences"),
      max_bytes: h("select", { onchange }, option("0", words("any_size")), SIZES.map(bytes => option(String(bytes), this.upTo(bytes)))),
      runs_here: h("input", { type: "checkbox", onchange }),
      sort: h("select", { onchange }, SORTS.map(name => option(name, words(`sort_${name}`)))),
    };
  }

  form(help) {
    const { words, controls } = this;
    const codes = (name, values) => h("datalist", { id: `${this.id}-${name}` }, values.map(value => option(value, value)));
    return h("form.query", { role: "search", "aria-label": words("search"), onsubmit: event => { event.preventDefault(); this.change(); } },
      h("div.search-row", {}, controls.text, help.button), help.element,
      h("div.filters", {},
        this.labelled("task", controls.task), this.labelled("language", controls.language),
        this.labelled("licence", controls.licence), this.labelled("size", controls.max_bytes),
        h("label.check", { title: words("runs_here_title") }, controls.runs_here, h("span", {}, words("runs_here"))),
        codes("languages", LANGUAGES), codes("licences", LICENCES)));
  }

  labelled(key, control) {
    return h("label.labelled", {}, h("span", {}, this.words(key)), control);
  }

  upTo(bytes) {
    return this.words("up_to", { size: this.format.size(bytes) });
  }
}

function option(value, label) {
  return h("option", { value }, label);
}
