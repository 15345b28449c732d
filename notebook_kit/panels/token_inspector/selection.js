// Selecting tokens by mouse and keyboard, and highlighting the tokens in other rows that cover the same text.

import { FLAG } from "./chips.js";

export class Selection {
  constructor(model) {
    this.model = model;
    this.anchor = null;   // where a range selection starts: { row, position }
  }

  get positions() {
    return this.model.get("selected") ?? [];
  }

  select(row, positions) {
    this.model.set("row", row.index);
    this.model.set("selected", positions);
    this.model.save_changes();
  }

  clear() {
    this.anchor = null;
    if (this.positions.length) this.model.set("selected", []);
  }

  onClick(row, event) {
    const item = event.target.closest(".nk-chip");
    if (item) this.choose(row, item, event);
  }

  onKey(row, event) {
    const items = row.chips(), at = items.indexOf(event.target.closest(".nk-chip"));
    if (at < 0) return;
    if (event.key === "Escape") { this.anchor = null; this.select(row, []); return; }
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); this.choose(row, items[at], event); return; }
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -at, End: items.length - 1 - at, ArrowDown: stepsToLine(items, at, 1), ArrowUp: stepsToLine(items, at, -1) };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = items[Math.min(items.length - 1, Math.max(0, at + steps[event.key]))];
    this.choose(row, next, { shiftKey: event.shiftKey });
  }

  choose(row, item, { shiftKey, ctrlKey, metaKey }) {
    const position = Number(item.dataset.position);
    const mine = row.index === this.model.get("row") ? this.positions : [];
    focusOn(row, item);
    if (shiftKey && this.anchor?.row === row.index) { this.select(row, rangeOf(this.anchor.position, position)); return; }
    this.anchor = { row: row.index, position };
    if (!(ctrlKey || metaKey)) this.select(row, [position]);
    else this.select(row, mine.includes(position) ? mine.filter(one => one !== position) : [...mine, position]);
  }

  /** Mark the selected tokens, and highlight those that cover the same text in other rows. */
  paint(rows) {
    const selectedRow = this.model.get("row"), selected = new Set(this.positions);
    const spans = [...selected].map(position => rows[selectedRow]?.token(position)).filter(token => token && !(token.flags & FLAG.inserted));
    for (const row of rows) {
      if (!row.data) continue;
      for (const item of row.chips()) {
        const position = Number(item.dataset.position), isSelected = row.index === selectedRow && selected.has(position);
        if ((item.getAttribute("aria-selected") === "true") !== isSelected) item.setAttribute("aria-selected", String(isSelected));
        item.classList.toggle("nk-lit", !isSelected && spans.length > 0 && overlaps(row.token(position), spans));
      }
    }
  }
}

/** Whether a token overlaps one of the spans in the same text of a pair. */
function overlaps(token, spans) {
  if (!token || token.flags & FLAG.inserted) return false;   // null: a chip of the previous answer, until its block is redrawn
  return spans.some(span => (span.flags & FLAG.second) === (token.flags & FLAG.second) && token.start < span.end && span.start < token.end);
}

function rangeOf(from, to) {
  const step = from <= to ? 1 : -1;
  return Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => from + i * step);
}

function focusOn(row, item) {
  row.strip.querySelectorAll('[tabindex="0"]').forEach(one => one.setAttribute("tabindex", "-1"));
  item.setAttribute("tabindex", "0");
  item.focus({ preventScroll: false });
}

/** How many items forward (or back) the nearest one in the line below (or above) is. */
function stepsToLine(items, at, way) {
  const here = items[at].getBoundingClientRect(), middle = here.left + here.width / 2;
  let best = 0, distance = Infinity, line = null;
  for (let i = at + way; i >= 0 && i < items.length; i += way) {
    const place = items[i].getBoundingClientRect();
    if (way > 0 ? place.top <= here.bottom - 2 : place.bottom >= here.top + 2) continue;
    line ??= place.top;
    if (Math.abs(place.top - line) > place.height) break;
    const off = Math.abs(place.left + place.width / 2 - middle);
    if (off < distance) { distance = off; best = i - at; }
  }
  return best;
}
