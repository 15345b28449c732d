// The list of what was found: a grid of which only the rows near the window exist, however many there are.

import { h } from "../shared/common.js";

const ROW_HEIGHT = 46;
const COLUMNS = [["model", "name"], ["parameters", null], ["to_fetch", "size"], ["downloads", "downloads"], ["likes", "likes"], ["updated", "date"]];

/**
 * `onLook(row)` when a row is chosen, `onOpen()` at Enter or a double click, `onSort(order)` from the head of a column, `onNear()`
 * when the end of the rows comes near.
 */
export function modelRows(view, tell, { onLook, onOpen, onSort, onNear }) {
  const { words } = view;
  const id = `nk-picker-${Math.random().toString(36).slice(2)}`;
  let rows = [], order = null, active = -1, chosen = "", sort = "downloads", drawn = new Map();

  const heads = COLUMNS.map(([key, by]) => {
    const content = by
      ? h("button.head", { type: "button", onclick: () => onSort(by) }, words(key), h("span.arrow", { "aria-hidden": "true" }))
      : h("span", {}, words(key));
    return h(`div.cell.is-${key}`, { role: "columnheader" }, content);
  });
  const space = h("div.space", { role: "rowgroup" });
  const head = h("div.headrow", { role: "rowgroup" }, h("div.line", { role: "row", "aria-rowindex": 1 }, heads));
  const grid = h("div.grid", { role: "grid", tabindex: "0", "aria-label": words("found"), "aria-colcount": COLUMNS.length }, head, space);
  const room = () => Math.max(ROW_HEIGHT, grid.clientHeight - head.offsetHeight);   // the head stays in place above the rows

  const rowAt = place => rows[order ? order[place] : place];
  const count = () => (order ? order.length : rows.length);

  const element = place => {
    const row = rowAt(place), warned = tell.obstacle(row) || (row.fits === false ? words("too_big", { size: tell.size(row.parameters * 4) }) : "");
    const facts = [row.task ? tell.task(row.task) : words("no_task"), row.licence].filter(Boolean);
    const cell = (key, ...content) => h(`div.cell.is-${key}`, { role: "gridcell" }, ...content);
    return h(`div.line${warned ? ".is-barred" : ""}`, { role: "row", id: `${id}-${place}`, "aria-rowindex": place + 2, "aria-selected": String(row.id === chosen), "data-place": place,
      style: { top: `${place * ROW_HEIGHT}px` } },
      cell("model",
        h("div.name", {}, h("bdi", { title: row.id }, row.id), row.source === "hub" ? null : h(`span.badge.from-${row.source}`, {}, words(`from_${row.source}`)), row.gated ? h("span.badge", {}, words("gated")) : null),
        h("div.sub", {}, warned ? h("span.warn", {}, "⚠ ", h("bdi", {}, warned)) : facts.map((fact, i) => [i ? " · " : null, h("bdi", {}, fact)]))),
      cell("parameters", row.parameters === null ? h("span.faint", {}, "?") : tell.short(row.parameters)),
      cell("to_fetch", tell.toFetch(row)),
      cell("downloads", row.downloads === null ? "" : tell.short(row.downloads)),
      cell("likes", row.likes === null ? "" : tell.short(row.likes)),
      cell("updated", row.date));
  };

  const draw = () => {
    const most = count();
    space.style.height = `${most * ROW_HEIGHT}px`;
    const top = grid.scrollTop, height = grid.clientHeight ? room() : 10 * ROW_HEIGHT;
    const first = Math.max(0, Math.floor(top / ROW_HEIGHT) - 6), last = Math.min(most, Math.ceil((top + height) / ROW_HEIGHT) + 6);
    for (const [place, one] of drawn) if (place < first || place >= last) { one.remove(); drawn.delete(place); }
    for (let place = first; place < last; place++) {
      if (drawn.has(place)) continue;
      const one = element(place);
      drawn.set(place, one);
      const after = [...drawn.keys()].filter(other => other > place).sort((a, b) => a - b)[0];   // the order in which they are read out
      space.insertBefore(one, after === undefined ? null : drawn.get(after));
    }
    mark();
    if (most && last >= most - 4) onNear();
  };
  const redraw = () => { drawn.forEach(one => one.remove()); drawn = new Map(); draw(); };

  const mark = () => {
    for (const [place, one] of drawn) {
      one.setAttribute("aria-selected", String(rowAt(place).id === chosen));
      one.classList.toggle("nk-active", place === active);
    }
    if (drawn.has(active)) grid.setAttribute("aria-activedescendant", `${id}-${active}`); else grid.removeAttribute("aria-activedescendant");
    grid.setAttribute("aria-rowcount", count() + 1);
  };

  const go = place => {
    if (!count()) return;
    active = Math.min(count() - 1, Math.max(0, place));
    const top = active * ROW_HEIGHT;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_HEIGHT > grid.scrollTop + room()) grid.scrollTop = top + ROW_HEIGHT - room();
    draw();
    choose();
  };
  const choose = () => {
    const row = rowAt(active);
    if (!row) return;
    chosen = row.id;
    mark();
    onLook(row);
  };

  grid.addEventListener("keydown", event => {
    if (event.target !== grid) return;
    const page = Math.max(1, Math.floor(room() / ROW_HEIGHT) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      event.stopPropagation();
      const to = steps[event.key];
      go(to === -Infinity ? 0 : to === Infinity ? count() - 1 : active < 0 ? 0 : active + to);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      if (active < 0) go(0);
      onOpen();
    }
  });
  grid.addEventListener("click", event => {
    const one = event.target.closest("[data-place]");
    if (!one) return;
    active = Number(one.dataset.place);
    choose();
    grid.focus({ preventScroll: true });
  });
  grid.addEventListener("dblclick", event => { if (event.target.closest("[data-place]")) onOpen(); });
  let waiting = false;
  grid.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  view.onResize(grid, () => draw());

  return {
    element: grid,
    get count() { return count(); },
    get chosen() { return rows.find(row => row.id === chosen); },
    focus: () => grid.focus(),
    /** Show these rows; `order` says in which order, if not their own. A new question starts at the top. */
    show(newRows, newOrder, by, fromTop) {
      const was = active >= 0 ? rowAt(active)?.id : null;
      rows = newRows; order = newOrder; sort = by;
      if (fromTop) { grid.scrollTop = 0; active = -1; }
      else if (was !== null) active = Array.from({ length: count() }, (_, place) => rowAt(place).id).indexOf(was);
      heads.forEach((head, i) => {
        const own = COLUMNS[i][1], up = own === "name" || own === "size";
        if (own) head.setAttribute("aria-sort", own !== sort ? "none" : up ? "ascending" : "descending");
        const arrow = head.querySelector(".nk-arrow");
        if (arrow) arrow.textContent = own !== sort ? "" : up ? " ▲" : " ▼";
      });
      redraw();
    },
    /** Mark the model that is looked at. */
    choose(name) { if (name !== chosen) { chosen = name; mark(); } },
    update(name, values) { const row = rows.find(one => one.id === name); if (row) { Object.assign(row, values); redraw(); } },
  };
}
