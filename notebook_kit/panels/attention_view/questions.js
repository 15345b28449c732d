// The questions of the page to Python: each is asked once, and its answer is kept for the current reading.

import { firstAnswers, keyOf } from "../shared/common.js";

const CACHE_BYTES = 64 * 2 ** 20;

/** The questions of one page, and their answers. */
export class Questions {
  constructor(view, model) {
    [this.view, this.model] = [view, model];
    this.newest = new Map();             // slot -> the question that awaits its answer
    this.kept = new Map();               // question -> answer
    this.bytes = 0;
    this.version = null;
  }

  get about() { return this.model.get("_about") ?? {}; }

  /** Whether there is a new reading, so that the kept answers are outdated. */
  get isStale() { return this.about.version !== this.version; }

  startOver() {
    this.kept.clear();
    this.bytes = 0;
    this.version = this.about.version;
    for (const { ask, with: values, answer, buffers } of this.first) this.keep(keyOf(ask, values), { values: answer, buffers });
  }

  /** The answers that came with the view. */
  get first() { return firstAnswers(this.model); }

  keep(key, answer) {
    const sizeOf = one => one.buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    this.kept.set(key, answer);
    this.bytes += sizeOf(answer);
    for (const [old, dropped] of this.kept) {
      if (this.bytes <= CACHE_BYTES || old === key) break;
      this.kept.delete(old);
      this.bytes -= sizeOf(dropped);
    }
    return answer;
  }

  /** Whether an answer is at hand, in a file as well. */
  has(kind, values) { return this.kept.has(keyOf(kind, values)) || Boolean(this.model.holds?.(kind, values)); }

  /** An answer, or a promise of it. A known answer is returned directly, so that its head is painted in this frame. */
  get(kind, values, slot = kind) {
    const key = keyOf(kind, values);
    if (this.kept.has(key)) return this.kept.get(key);
    if (this.newest.get(slot)?.key === key) return this.newest.get(slot).answer;
    const answer = this.view.ask(kind, values, slot).then(one => {
      if (this.newest.get(slot)?.key === key) this.newest.delete(slot);
      if (!one || values.version !== this.about.version) return null;
      return this.kept.get(key) ?? this.keep(key, one);
    });
    this.newest.set(slot, { key, answer });
    return answer;
  }

  /** A question about all heads, as `_question` in Python asks it. */
  ofAll() {
    const trait = name => this.model.get(name);
    return {
      version: this.about.version,
      hide: trait("hide_special"),
      renormalise: trait("hide_special") && trait("renormalise"),
      direction: trait("direction"),
      which: trait("shown"),
    };
  }

  /** A question about where the selected positions look, in all heads. */
  ofMaps() { return { ...this.ofAll(), rows: this.model.get("selected") }; }

  /** A question about the heads that are shown. */
  ofHeads(changes = {}) {
    const trait = name => this.model.get(name);
    return {
      ...this.ofAll(),
      layer: trait("layer"),
      heads: trait("heads"),
      combine: trait("heads").length + trait("more").length > 1 ? trait("combine") : "mean",
      merge: trait("merge_words"),
      what: "attention",
      ...(trait("more").length ? { more: trait("more") } : {}),
      ...(trait("whole") && this.about.is_pooled ? { whole: true } : {}),
      ...changes,
    };
  }

  /** A question about rollout. */
  ofRollout() {
    const { more: _, whole: __, ...question } = this.ofHeads({ what: "rollout", heads: [0], combine: "mean" });
    return question;
  }
}
