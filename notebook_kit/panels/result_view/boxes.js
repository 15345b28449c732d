// Boxes over a picture, each with its label and score.

import { h } from "../shared/common.js";
import { Picture } from "./picture.js";

const MOST_TAGS = 14;   // with more boxes, only the lit one has its label

export class BoxStage {
  constructor(view, { things, colours, inks, size, is_page: isPage }, [picture], { onPoint, onPick }) {
    this.things = things;
    this.mostTags = isPage ? 0 : MOST_TAGS;   // of a page they would cover the words that they repeat
    this.visible = things.map(() => true);
    const label = view.words("alt_boxes", { listed: things.slice(0, 10).map(one => `${one.label} ${one.score.toFixed(2)}`).join(", ") });
    this.picture = new Picture(picture, size, label, {
      onPoint: (x, y) => onPoint(x === null ? null : this.at(x, y)),
      onClick: (x, y) => onPick(this.at(x, y)),
    });
    this.boxes = things.map((thing, i) => boxOf(thing, colours[i], inks[i]));
    // The smaller ones are on top.
    const order = things.map((_, i) => i).sort((a, b) => areaOf(things[b]) - areaOf(things[a]));
    this.cover = h("div.rv-boxes", { "aria-hidden": "true" }, order.map(i => this.boxes[i]));
    this.picture.cover(this.cover);
    this.element = this.picture.element;
    view.onResize(this.element, () => this.placeTags());
  }

  /** The smallest visible box at a place; null for none. */
  at(x, y) {
    let best = null;
    this.things.forEach((thing, i) => {
      const [left, top, right, bottom] = thing.box;
      if (!this.visible[i] || x < left || x > right || y < top || y > bottom) return;
      if (best === null || areaOf(thing) < areaOf(this.things[best])) best = i;
    });
    return best;
  }

  update({ visible, lit }) {
    this.visible = visible;
    this.cover.classList.toggle("nk-rv-dimmed", lit !== null);
    this.cover.classList.toggle("nk-rv-crowded", visible.filter(Boolean).length > this.mostTags);
    const isSame = this.boxes.every((box, i) => box.hidden === !visible[i]);
    this.boxes.forEach((box, i) => {
      box.hidden = !visible[i];
      box.classList.toggle("nk-rv-lit", i === lit);
    });
    if (!isSame) this.placeTags();
  }

  /** Put each label above its box, or where it covers no label of a better box. */
  placeTags() {
    const placed = [], order = this.things.map((_, i) => i).sort((a, b) => this.things[b].score - this.things[a].score);
    for (const i of order) {
      const box = this.boxes[i];
      if (box.hidden) continue;
      const tag = box.firstChild, isHigh = this.things[i].box[1] < 0.05;
      for (const place of [...(isHigh ? [] : [""]), "inside", "below", isHigh ? "inside" : ""]) {
        for (const name of ["inside", "below"]) box.classList.toggle(`nk-rv-${name}`, name === place);
        const frame = tag.getBoundingClientRect();
        if (placed.some(other => overlap(frame, other))) continue;
        placed.push(frame);
        break;
      }
    }
  }

  end() { this.picture.end(); }
}

function overlap(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

function areaOf({ box: [left, top, right, bottom] }) {
  return (right - left) * (bottom - top);
}

function boxOf({ box: [left, top, right, bottom], label, score }, colour, ink) {
  const percent = part => `${(100 * part).toFixed(3)}%`;
  const tag = h("span.rv-tag", { style: { background: colour, color: ink } }, h("bdi", {}, label), ` ${score.toFixed(2)}`);
  return h(`div.rv-box${(left + right) / 2 > 0.65 ? ".rv-from-right" : ""}`, {
    style: { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top), "--colour": colour },
  }, tag);
}
