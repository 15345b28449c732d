// Captions under their picture.

import { h } from "../shared/common.js";
import { Picture } from "./picture.js";

export class CaptionStage {
  constructor(view, { things }, [picture]) {
    this.picture = new Picture(picture, null, view.words("alt_captions", { listed: things[0]?.label ?? "" }));
    const captions = things.map(({ label }) => h("p.rv-caption", { dir: "auto" }, label));
    this.element = h("figure.rv-captioned", {}, this.picture.element, h("figcaption", {}, captions));
  }

  end() { this.picture.end(); }
}
