// The list of models found: a grid that creates only the rows near its visible part.

import { h } from "../shared/common.js";

const ROW_HEIGHT = 46;
const SPARE_ROWS = 6;   // drawn above and below the visible part
const COLUMNS = [["model", "name"], ["parameters", null], ["to_fetch", "size"], ["downloads", "downloads"], ["likes", "likes"], ["updated", "date"]];

/**
 * `onLook(row)` is called when a row is selected, `onOpen()` on Enter or a double click, `onSort(order)` on a click on a column
 * header, `onNear()` when the end of the rows is near.
 */
export class ModelGrid {
  constructor(view, format, { onLook, onOpen, onSort, onNear }) {
    Object.assign(this, { words: view.words, format, onLook, onOpen, onNear });
    this.id = `nk-picker-${Math.random().toString(36).slice(2)}`;
    this.rows = [];           // in the order shown
    this.active = -1;         // index of the row that has the keyboard cursor
    this.chosen = "";         // id of the selected model
    this.drawn = new Map();   // index of a row -> element
    this.heads = COLUMNS.map(column => this.headCell(column, onSort));
    this.space = h("div.space", { role: "rowgroup" });
    this.head = h("div.headrow", { role: "rowgroup" }, h("div.line", { role: "row", "aria-rowindex": 1 }, this.heads));
    this.element = h("div.grid", { role: "grid", tabindex: "0", "aria-label": this.words("found"), "aria-colcount": COLUMNS.length }, this.head, this.space);
    this.listen(view);
  }

  listen(view) {
    const grid = this.element;
    let isWaiting = false;
    grid.addEventListener("keydown", event => this.onKey(event));
    grid.addEventListener("click", event => this.onClick(event));
    grid.addEventListener("dblclick", event => { if (event.target.closest("[data-place]")) this.onOpen(); });
    grid.addEventListener("scroll", () => {
      if (isWaiting) return;
      isWaiting = true;
      requestAnimationFrame(() => { isWaiting = false; this.draw(); });
    });
    view.onResize(grid, () => this.draw());
  }

  focus() {
    this.element.focus();
  }

  /** Show these rows, sorted by `sort`. `fromTop`: scroll to the top, for a new search. */
  show(rows, sort, fromTop) {
    const activeId = this.rows[this.active]?.id;
    this.rows = rows;
    if (fromTop) { this.element.scrollTop = 0; this.active = -1; }
    else if (activeId !== undefined) this.active = rows.findIndex(row => row.id === activeId);
    this.heads.forEach((head, i) => {
      const own = COLUMNS[i][1], isUp = own === "name" || own === "size";
      if (own) head.setAttribute("aria-sort", own !== sort ? "none" : isUp ? "ascending" : "descending");
      const arrow = head.querySelector(".nk-arrow");
      if (arrow) arrow.textContent = own !== sort ? "" : isUp ? " ▲" : " ▼";
    });
    this.redraw();
  }

  /** Mark the selected model. */
  choose(id) {
    if (id === this.chosen) return;
    this.chosen = id;
    this.mark();
  }

  redraw() {
    this.drawn.forEach(element => element.remove());
    this.drawn = new Map();
    this.draw();
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  /** The visible height of the rows, below the fixed header. */
  get room() {
    return Math.max(ROW_HEIGHT, this.element.clientHeight - this.head.offsetHeight);
  }

  draw() {
    const count = this.rows.length, top = this.element.scrollTop;
    const height = this.element.clientHeight ? this.room : 10 * ROW_HEIGHT;
    const first = Math.max(0, Math.floor(top / ROW_HEIGHT) - SPARE_ROWS);
    const last = Math.min(count, Math.ceil((top + height) / ROW_HEIGHT) + SPARE_ROWS);
    this.space.style.height = `${count * ROW_HEIGHT}px`;
    for (const [place, element] of this.drawn) if (place < first || place >= last) { element.remove(); this.drawn.delete(place); }
    for (let place = first; place < last; place++) if (!this.drawn.has(place)) this.insert(place);
    this.mark();
    if (count && last >= count - 4) this.onNear();
  }

  /** Insert a row in document order, the order in which screen readers read. */
  insert(place) {
    const element = this.line(place), next = Math.min(...[...this.drawn.keys()].filter(other => other > place));
    this.drawn.set(place, element);
    this.space.insertBefore(element, this.drawn.get(next) ?? null);
  }

  headCell([key, order], onSort) {
    const content = order
      ? h("button.head", { type: "button", onclick: () => onSort(order) }, this.words(key), h("span.arrow", { "aria-hidden": "true" }))
      : h("span", {}, this.words(key));
    return h(`div.cell.is-${key}`, { role: "columnheader" }, content);
  }

  line(place) {
    const { words, format } = this, row = this.rows[place];
    const tooBig = row.fits === false ? words("too_big", { size: format.size(row.parameters * 4) }) : "";
    const warned = format.obstacle(row) || tooBig;
    const cell = (key, ...content) => h(`div.cell.is-${key}`, { role: "gridcell" }, ...content);
    const short = value => (value === null ? "" : format.short(value));
    return h(`div.line${warned ? ".is-barred" : ""}`, {
      role: "row", id: `${this.id}-${place}`, "aria-rowindex": place + 2, "aria-selected": String(row.id === this.chosen), "data-place": place,
      style: { top: `${place * ROW_HEIGHT}px` },
    },
    cell("model", this.nameLine(row), this.subLine(row, warned)),
    cell("parameters", row.parameters === null ? h("span.faint", {}, "?") : short(row.parameters)),
    cell("to_fetch", format.toFetch(row)),
    cell("downloads", short(row.downloads)),
    cell("likes", short(row.likes)),
    cell("updated", row.date));
  }

  nameLine(row) {
    return h("div.name", {}, h("bdi", { title: row.id }, row.id),
      row.source === "hub" ? null : h(`span.badge.from-${row.source}`, {}, this.words(`from_${row.source}`)),
      row.gated ? h("span.badge", {}, this.words("gated")) : null);
  }

  subLine(row, warned) {
    const facts = [row.task ? this.format.task(row.task) : this.words("no_task"), row.licence].filter(Boolean);
    return h("div.sub", {}, warned
      ? h("span.warn", {}, "⚠ ", h("bdi", {}, warned))
      : facts.map((fact, i) => [i ? " · " : null, h("bdi", {}, fact)]));
  }

  mark() {
    const grid = this.element;
    for (const [place, element] of this.drawn) {
      element.setAttribute("aria-selected", String(this.rows[place].id === this.chosen));
      element.classList.toggle("nk-active", place === this.active);
    }
    if (this.drawn.has(this.active)) grid.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else grid.removeAttribute("aria-activedescendant");
    grid.setAttribute("aria-rowcount", this.rows.length + 1);
  }

  // Selecting --------------------------------------------------------------------------------------------------------

  onKey(event) {
    const grid = this.element;
    if (event.target !== grid) return;
    const count = this.rows.length, page = Math.max(1, Math.floor(this.room / ROW_HEIGHT) - 1);
    const first = place => (this.active < 0 ? 0 : place);   // the first key goes to the first row
    const places = {
      ArrowDown: first(this.active + 1), ArrowUp: first(this.active - 1),
      PageDown: first(this.active + page), PageUp: first(this.active - page), Home: 0, End: count - 1,
    };
    const isOpening = event.key === "Enter" || event.key === " ";
    if (!(event.key in places) && !isOpening) return;
    event.preventDefault();
    event.stopPropagation();
    if (!isOpening) { this.go(places[event.key]); return; }
    if (this.active < 0) this.go(0);
    this.onOpen();
  }

  onClick(event) {
    const line = event.target.closest("[data-place]");
    if (!line) return;
    this.active = Number(line.dataset.place);
    this.look();
    this.element.focus({ preventScroll: true });
  }

  go(place) {
    const grid = this.element;
    if (!this.rows.length) return;
    this.active = Math.min(this.rows.length - 1, Math.max(0, place));
    const top = this.active * ROW_HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_HEIGHT > grid.scrollTop + this.room) grid.scrollTop = top + ROW_HEIGHT - this.room;
    this.draw();
    this.look();
  }

  look() {
    const row = this.rows[this.active];
    if (!row) return;
    this.chosen = row.id;
    this.mark();
    this.onLook(row);
  }
}
