// The row of one tokenizer: its name, its totals, and its tokens in blocks, of which only those near the visible part are drawn.

import { fill, h } from "../shared/common.js";
import { planOfBlock, showPlan } from "./chips.js";
import { drawTotals } from "./totals.js";

export class TokenizerRow {
  /**
   * `about` describes the tokenizer. `onClick(row, event)` and `onKey(row, event)` are called for events on its tokens,
   * `onPoint(token)` for the token under the pointer or null, `onDrawn()` when more tokens have been drawn.
   */
  constructor(view, format, index, about, { onClick, onKey, onPoint, onDrawn }) {
    const { words, number } = format;
    Object.assign(this, { view, format, index, about, onDrawn });
    this.strip = h("div.strip", { role: "listbox", "aria-multiselectable": "true", "aria-label": words("tokens_of", { name: about.name }), tabindex: "-1" });
    this.totals = h("p.totals");
    this.more = h("div.more");
    this.root = h("section.tokenizer", { "aria-label": about.name },
      h("h3.name", {}, h("bdi", {}, about.name), h("span.faint", {}, ` ${about.type} · ${words("entries", { count: number(about.size) })}`)),
      this.totals,
      about.notes.map(note => h("p.note", {}, words(note))),
      this.strip, this.more);
    this.blocks = [];
    this.data = null;       // index of a block -> its values and columns; null before the first answer
    this.answer = null;     // key and block size of the latest answer
    this.observer = new IntersectionObserver(entries => entries.forEach(entry => this.onSeen(entry)), { root: this.strip, rootMargin: "300px 0px" });
    this.strip.addEventListener("click", event => onClick(this, event));
    this.strip.addEventListener("keydown", event => onKey(this, event));
    this.strip.addEventListener("pointerover", event => {
      const item = event.target.closest(".nk-chip");
      onPoint(item && this.token(Number(item.dataset.position)));
    });
    this.strip.addEventListener("pointerleave", () => onPoint(null));
  }

  /** Show an answer: `values` contains the first block, `buffer` its columns. */
  draw(values, buffer, answer, reference) {
    this.observer.disconnect();
    this.answer = answer;
    this.count = values.groups;
    this.data = new Map();
    this.setBlocks(Math.max(1, Math.ceil(values.groups / answer.blockSize)));
    if (values.groups) this.drawBlock(values.block, buffer);
    else this.drawNoTokens();
    if (this.blocks.length > 1) this.blocks.forEach(block => this.observer.observe(block.root));
    drawTotals(this, values, reference);
  }

  setBlocks(count) {
    this.blocks.splice(count).forEach(block => block.root.remove());
    for (const block of this.blocks) Object.assign(block, { drawn: false, asked: false });   // their contents stay until replaced
    while (this.blocks.length < count) {
      const block = { number: this.blocks.length, root: h("div.block", { role: "none" }), keys: [], drawn: false, asked: false };
      if (block.number) block.root.style.minHeight = `${this.blocks[0].root.offsetHeight || 200}px`;
      this.blocks.push(block);
      this.strip.append(block.root);
    }
  }

  drawNoTokens() {
    this.blocks[0].keys = [];
    fill(this.blocks[0].root, h("span.faint", { role: "option", "aria-disabled": "true", "aria-selected": "false" }, this.format.words("no_tokens")));
  }

  drawBlock(values, buffer) {
    const block = this.blocks[values.number];
    if (!this.data.has(values.number)) this.data.set(values.number, { values, first: values.first, columns: columnsOf(values, buffer) });
    const plan = planOfBlock(this.format.words, values, this.data.get(values.number).columns, this.answer.blockSize);
    showPlan(block.root, block.keys, plan);
    [...block.root.querySelectorAll(".nk-chip")].forEach((one, i) => {
      if (one.dataset.position !== String(values.first + i)) one.dataset.position = values.first + i;
    });
    block.keys = plan.map(({ key }) => key);
    block.root.style.minHeight = "";
    block.drawn = true;
    if (!this.strip.querySelector('[tabindex="0"]')) this.strip.querySelector(".nk-chip")?.setAttribute("tabindex", "0");
  }

  /** Draw a block that comes near the visible part; empty one that leaves it. */
  async onSeen(entry) {
    const block = this.blocks.find(one => one.root === entry.target);
    if (!block) return;
    if (!entry.isIntersecting) { this.emptyBlock(block); return; }
    if (block.drawn || block.asked) return;
    const kept = this.data.get(block.number);
    if (kept) { this.drawBlock(kept.values, null); this.onDrawn(); return; }
    block.asked = true;
    const { of } = this.answer, question = { of, row: this.index, block: block.number };
    const result = await this.view.ask("block", question, `block ${this.index} ${block.number}`);
    if (this.answer.of !== of) return;      // the text has changed meanwhile
    block.asked = false;
    if (!result || this.blocks[block.number] !== block) return;
    this.drawBlock(result.values, result.buffers[0]);
    this.onDrawn();
  }

  emptyBlock(block) {
    if (!block.root.firstChild || block.root.contains(document.activeElement)) return;
    block.root.style.minHeight = `${block.root.offsetHeight}px`;
    fill(block.root);
    Object.assign(block, { drawn: false, keys: [] });
  }

  /** The token at a position, as `{ start, end, flags }`; null until its block has been received. */
  token(position) {
    const kept = [...(this.data?.values() ?? [])].find(one => position >= one.first && position < one.first + one.values.tokens.length);
    if (!kept) return null;
    const i = position - kept.first, [, starts, ends, , , flags] = kept.columns;
    return { start: starts[i], end: ends[i], flags: flags[i] };
  }

  chips() {
    return [...this.strip.querySelectorAll(".nk-chip")];
  }

  end() {
    this.observer.disconnect();
  }
}

/** The six columns of a block: ids, starts, ends, starts and ends in bytes, and flags. */
function columnsOf(values, buffer) {
  const all = new Int32Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
  const size = values.tokens.length;
  return Array.from({ length: 6 }, (_, i) => all.subarray(i * size, (i + 1) * size));
}
