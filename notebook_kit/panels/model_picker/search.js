// Searching: pages of rows from Python as the reader scrolls; in a file on disk, the rows saved with it.

import { QUESTION } from "./query.js";

const ROUNDS = 3;   // pages without results that a search requests automatically before it pauses

/** `onRows(fromTop)` is called when the rows have changed, `onState()` when the state of the search has. */
export class ModelSearch {
  constructor(model, view, query, { onRows, onState }) {
    Object.assign(this, { model, view, query, onRows, onState });
    this.rows = [];
    this.order = null;          // indices into `rows`, in the order shown; null: unchanged order
    this.scanned = 0;           // number of the Hub's models examined
    this.problem = null;        // why the Hub is not searched
    this.isDone = true;
    this.isPaused = false;
    this.key = null;            // the key of the search in Python
    this.saved = null;          // all rows, in a file on disk
    this.isGoing = this.isEnded = false;
    this.hasFirst = this.hasMore = false;   // whether the first answers were used
    this.rounds = this.turns = 0;
  }

  /** Rows in the order shown. */
  get ordered() {
    return this.order ? this.order.map(place => this.rows[place]) : this.rows;
  }

  row(id) {
    return this.rows.find(row => row.id === id);
  }

  /** Start the current search; `retry`: even if its request to the Hub has failed before. */
  async search(retry = false) {
    if (this.saved) { this.searchSaved(); return; }
    this.turns += 1;
    const turn = this.turns, { question } = this.query;
    Object.assign(this, { rounds: 0, isPaused: false, isGoing: true });
    this.view.cancel("more");
    const result = this.first(question, retry) ?? await this.view.ask("search", retry ? { ...question, retry } : question);
    if (this.isEnded || turn !== this.turns) return;
    this.isGoing = false;
    if (!result) {
      Object.assign(this, { key: null, isPaused: true, isDone: false });
      this.onState();
      return;
    }
    this.take(result.values, true);
    if (this.model.offline) this.saved = [...this.rows];
    this.more();
  }

  /** The answer that came with the panel, so that a kernel that runs other cells need not answer; null if it is another one. */
  first(question, retry) {
    const { ask, cache, search } = this.model.get("_first") ?? {};
    if (this.hasFirst || this.model.offline || retry || !search || cache !== this.model.get("_cache")) return null;
    this.hasFirst = true;
    return QUESTION.every(name => ask[name] === question[name]) ? { values: structuredClone(search) } : null;
  }

  /** Request the next page, if there is one. */
  async more() {
    if (this.isEnded || this.isGoing || this.isDone || this.isPaused || this.key === null) return;
    const turn = this.turns, before = this.rows.length;
    this.isGoing = true;
    this.onState();
    const result = await this.view.ask("more", { of: this.key, from: before, sort: this.model.get("sort") }, "more", !this.hasMore);
    this.hasMore = true;
    if (this.isEnded || turn !== this.turns) return;
    this.isGoing = false;
    if (!result) {
      this.isPaused = true;
      this.onState();
      return;
    }
    this.rounds = result.values.rows?.length ? 0 : this.rounds + 1;
    this.take(result.values, false);
    if (this.rows.length !== before || this.isDone) return;
    this.isPaused = this.rounds >= ROUNDS;
    this.onState();
    this.more();
  }

  /** Continue after a pause. */
  resume() {
    this.isPaused = false;
    this.rounds = 0;
    if (this.key === null) this.search();
    else this.more();
  }

  take(values, fromTop) {
    if (values.gone) { this.search(); return; }
    if (fromTop) this.rows = values.rows;
    else this.rows.splice(values.from, Infinity, ...values.rows);
    for (const [place, row] of values.changed) if (this.rows[place]) this.rows[place] = row;
    const { of: key, order, scanned, problem } = values;
    Object.assign(this, { key, order, scanned, problem, isDone: values.done || Boolean(this.model.offline) });
    this.onRows(fromTop);
    this.onState();
  }

  searchSaved() {
    const { question } = this.query;
    this.rows = this.saved.filter(row => matches(row, question)).sort(ORDERS[question.sort]);
    this.order = null;
    this.onRows(true);
    this.onState();
  }

  end() {
    this.isEnded = true;
  }
}

function matches(row, question) {
  const id = row.id.toLowerCase();
  return question.text.toLowerCase().split(/\s+/).filter(Boolean).every(word => id.includes(word))
    && (!question.task || row.task === question.task)
    && (!question.language || row.languages.includes(question.language))
    && (!question.licence || row.licence === question.licence)
    && (!question.max_bytes || (row.size ?? 0) <= question.max_bytes)
    && (!question.runs_here || (!row.obstacle && row.fits !== false));
}

const nameOf = row => row.id.split("/").pop().toLowerCase();

// Models on this machine have no counts and come first.
const ORDERS = {
  name: (a, b) => nameOf(a).localeCompare(nameOf(b)),
  size: (a, b) => (a.size ?? Infinity) - (b.size ?? Infinity),
  downloads: (a, b) => (b.downloads ?? Infinity) - (a.downloads ?? Infinity),
  likes: (a, b) => (b.likes ?? Infinity) - (a.likes ?? Infinity),
  date: (a, b) => (b.date || "9").localeCompare(a.date || "9"),
};
