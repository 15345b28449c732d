// The logit lens: a table of layers by positions, each cell with what that layer would have said next.

import { fill, h, roving, set } from "../shared/common.js";
import { visible } from "../shared/letters.js";
import { colourOf, percentOf } from "../shared/probabilities.js";
import { floatsOf } from "./positions.js";

/** The lens view; `onBlock(first)` asks for the block of positions that begins there. */
export function lensView(view, onBlock) {
  const { words } = view;
  const caption = h("p.faint", {}, words("lens_caption"));
  const cannot = h("p.av-lens-cannot");
  const turn = (name, sign, step) => h("button", { type: "button", "aria-label": words(name), title: words(name), onclick: () => onBlock(Math.max(0, now.first + step * now.block)) }, sign);
  const back = turn("lens_before", "◂", -1), on = turn("lens_after", "▸", 1), where = h("span", { role: "status" });
  const pages = h("div.row.av-lens-pages", {}, back, where, on, h("span.av-lens-scale"));
  const grid = h("div.scroll.av-lens-scroll", { role: "region", tabindex: "-1" });
  const detail = h("div.av-lens-detail", { "aria-live": "polite" });
  const element = h("div.av-lens", {}, cannot, caption, pages, grid, detail);
  let now = null, chosen = null, cells = [];

  const at = (row, column) => (row * now.count + column) * now.top;
  const label = id => now.labels.get(id) ?? ["", 0];
  const shownText = ([text, kind]) => (kind === 2 ? text : visible(text));
  const rowName = row => (row === 0 ? words("lens_embeddings") : String(now.layers[row - 1]));

  const tell = (row, column) => {
    if (!now) return;
    const start = at(row, column);
    const most = now.chances[start] || 1;
    const title = words(row === now.rows - 1 ? "lens_at_last" : row === 0 ? "lens_at_first" : "lens_at", { layer: rowName(row) });
    fill(detail, h("h4", {}, title, " ", h("bdi.mono.av-lens-read", {}, shownText(now.read[column])), h("span.faint", {}, ` (${words("lens_position", { position: now.first + column })})`)),
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, words("token")), h("th", { scope: "col" }, words("lens_probability")))),
        h("tbody", {}, Array.from({ length: now.top }, (_, k) => h("tr", {},
          h("th", { scope: "row" }, h("bdi.mono", {}, shownText(label(now.ids[start + k])))),
          h("td", {}, h("span.av-lens-bar", { "aria-hidden": "true" }, h("span", { style: { width: `${(100 * now.chances[start + k] / most).toFixed(1)}%` } })),
            h("span.mono", {}, now.chances[start + k].toFixed(6))))))));
  };
  const choose = (row, column) => {
    chosen = [row, column];
    cells.forEach(cell => {
      const mine = Number(cell.dataset.row) === row && Number(cell.dataset.column) === column;
      cell.setAttribute("aria-selected", String(mine));
      cell.setAttribute("tabindex", mine ? "0" : "-1");
    });
    tell(row, column);
  };
  const place = event => { const cell = event.target.closest?.(".nk-av-lens-cell"); return cell ? [Number(cell.dataset.row), Number(cell.dataset.column)] : null; };
  set(grid, {
    onclick: event => { const found = place(event); if (found) { choose(...found); event.target.closest(".nk-av-lens-cell").focus({ preventScroll: true }); } },
    onpointerover: event => { const found = place(event); if (found) tell(...found); },
    onpointerleave: () => { if (chosen) tell(...chosen); },
  });
  roving(grid, ".nk-av-lens-cell", { columns: () => now.count, onMove: cell => choose(Number(cell.dataset.row), Number(cell.dataset.column)) });

  return {
    element,
    /** What there is to say where there is no lens. */
    refuse(text) {
      fill(cannot, text);
      cannot.hidden = !text;
      for (const part of [caption, pages, grid, detail]) part.hidden = Boolean(text);
    },
    get first() { return now?.first ?? 0; },
    draw(answer) {
      if (now?.answer === answer) return;
      const { values, buffers } = answer;
      now = {
        answer, first: values.first, count: values.count, block: values.block, positions: values.positions, layers: values.layers, top: values.top, rows: values.layers.length + 1,
        labels: new Map(values.labels.map(([id, text, kind]) => [id, [text, kind]])), ids: intsOf(buffers[0]), chances: floatsOf(buffers[1]),
        read: values.read,
      };
      const last = now.rows - 1, had = grid.contains(document.activeElement);
      cells = [];
      const row = number => h(number === last ? "tr.av-lens-last" : "tr", { role: "row" },
        h("th", { scope: "row", role: "rowheader" }, number === last ? `${rowName(number)} = ${words("lens_output")}` : rowName(number)),
        Array.from({ length: now.count }, (_, column) => {
          const start = at(number, column), id = now.ids[start], chance = now.chances[start], { back: colour, ink } = colourOf(chance);
          const agrees = id === now.ids[at(last, column)];
          const cell = h(`td.av-lens-cell${agrees ? ".av-lens-agrees" : ""}`, { role: "gridcell", tabindex: "-1", "data-row": number, "data-column": column, "aria-selected": "false", style: { "background-color": colour, color: ink } },
          h("span.av-lens-word", {}, h("bdi", {}, shownText(label(id)))), h("span.av-lens-chance", {}, percentOf(chance)),
          agrees && number !== last ? h("span.sr", {}, words("lens_agrees")) : null);
          cells.push(cell);
          return cell;
        }));
      grid.setAttribute("aria-label", words("lens"));
      fill(grid, h("table.av-lens-table", { role: "grid", "aria-label": words("lens_grid") },
        h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { scope: "col", role: "columnheader" }, words("layer")), now.read.map(token => h("th", { scope: "col", role: "columnheader" }, h("bdi", {}, shownText(token)))))),
        h("tbody", { role: "rowgroup" }, Array.from({ length: now.rows }, (_, number) => row(number)))));
      where.textContent = words("lens_where", { first: now.first, last: now.first + now.count - 1, all: now.positions });
      back.disabled = now.first === 0;
      on.disabled = now.first + now.count >= now.positions;
      back.hidden = on.hidden = now.positions <= now.block;
      fill(pages.lastChild, h("span", {}, "0%"), h("span.av-lens-colours", { "aria-hidden": "true" }, Array.from({ length: 16 }, (_, i) => h("span", { style: { "background-color": colourOf(i / 15).back } }))), h("span", {}, "100%"),
        h("span.av-lens-key", {}, h("span.av-lens-mark", { "aria-hidden": "true" }), words("lens_key")));
      choose(last, now.count - 1);
      if (had) cells.at(-1).focus();
    },
  };
}

/** Int32 numbers of a buffer. */
function intsOf(view) {
  return new Int32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}
