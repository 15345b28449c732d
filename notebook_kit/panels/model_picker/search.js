// Searching: pages of rows from Python as the reader scrolls on; in a file on disk, the rows that were saved with it.

const ROUNDS = 3;   // pages that a question may ask for by itself, until there are rows to fill the window

/** `onRows(fromTop)` is called when the rows have changed, `onState()` when how the search is going has. */
export class ModelSearch {
  constructor(model, view, query, { onRows, onState }) {
    Object.assign(this, { model, view, query, onRows, onState });
    this.rows = [];
    this.order = null;          // places in `rows`, in the order shown; null: as they are
    this.scanned = 0;           // models of the Hub looked at
    this.problem = null;        // why the Hub is left out
    this.isDone = true;
    this.isPaused = false;
    this.key = null;            // Python's key of the search
    this.saved = null;          // all rows of a file on disk
    this.isGoing = this.isEnded = false;
    this.rounds = this.turns = 0;
  }

  /** Rows in the order shown. */
  get ordered() {
    return this.order ? this.order.map(place => this.rows[place]) : this.rows;
  }

  row(id) {
    return this.rows.find(row => row.id === id);
  }

  /** Ask the present question; `again`: also what has failed before. */
  async search(again = false) {
    if (this.saved) { this.searchSaved(); return; }
    this.turns += 1;
    const turn = this.turns, { question } = this.query;
    Object.assign(this, { rounds: 0, isPaused: false, isGoing: true });
    this.view.cancel("more");
    const result = await this.view.ask("search", again ? { ...question, anew: again } : question);
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

  /** Ask for the next page, if there is one. */
  async more() {
    if (this.isEnded || this.isGoing || this.isDone || this.isPaused || this.key === null) return;
    const turn = this.turns, before = this.rows.length;
    this.isGoing = true;
    this.onState();
    const result = await this.view.ask("more", { of: this.key, from: before, sort: this.model.get("sort") });
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

  /** Go on after a pause. */
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

function matches(row, asked) {
  const id = row.id.toLowerCase();
  return asked.text.toLowerCase().split(/\s+/).filter(Boolean).every(word => id.includes(word))
    && (!asked.task || row.task === asked.task)
    && (!asked.language || row.languages.includes(asked.language))
    && (!asked.licence || row.licence === asked.licence)
    && (!asked.max_bytes || (row.size ?? 0) <= asked.max_bytes)
    && (!asked.runs_here || (!row.obstacle && row.fits !== false));
}

const nameOf = row => row.id.split("/").pop().toLowerCase();

// What is on this machine and has no counts stays in front.
const ORDERS = {
  name: (a, b) => nameOf(a).localeCompare(nameOf(b)),
  size: (a, b) => (a.size ?? Infinity) - (b.size ?? Infinity),
  downloads: (a, b) => (b.downloads ?? Infinity) - (a.downloads ?? Infinity),
  likes: (a, b) => (b.likes ?? Infinity) - (a.likes ?? Infinity),
  date: (a, b) => (b.date || "9").localeCompare(a.date || "9"),
};
