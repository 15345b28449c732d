// What scores are about: a picture or a text. The scores themselves are in the list.

import { h } from "../shared/common.js";
import { Picture } from "./picture.js";

export class ScoreStage {
  constructor(view, { text, things }, [picture]) {
    const label = view.words("alt_input", { listed: things.slice(0, 3).map(one => one.label).join(", ") });
    this.picture = picture ? new Picture(picture, null, label) : null;
    this.element = this.picture?.element ?? h("div.rv-text", { hidden: !text }, text);
  }

  end() { this.picture?.end(); }
}
