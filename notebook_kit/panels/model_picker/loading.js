// Loading a model: the progress bar, the cancel button, and the error if it failed.

import { fill, h } from "../shared/common.js";

/** `onStop()` cancels; `onDismiss()` removes the error. */
export class LoadingView {
  constructor({ words }, format, { onStop, onDismiss }) {
    Object.assign(this, { words, format, onDismiss });
    this.bar = h("progress.progress", { "aria-label": words("loading") });
    this.how = h("span.how");
    this.element = h("div.loading", { hidden: true }, this.how, this.bar, h("button", { type: "button", onclick: onStop }, words("cancel")));
    this.failure = h("div.error", { role: "alert", hidden: true });
  }

  /** Show the load in progress, `{ id, stage, done, total }`; {} for none. */
  show({ id, stage, done, total }) {
    this.element.hidden = !id;
    if (!id) return;
    const isFetching = stage === "fetch" && total > 0;
    if (isFetching) { this.bar.max = total; this.bar.value = done; } else this.bar.removeAttribute("value");
    const key = stage === "load" ? "loading_memory" : isFetching ? "loading_bytes" : "loading_begins";
    fill(this.how, this.words(key, { done: this.format.size(done), total: this.format.size(total) }), " ", h("bdi", {}, id));
  }

  /** Show why the last load failed, `{ what, next_step }`; {} hides the error. */
  showProblem({ what, next_step }) {
    this.failure.hidden = !what;
    fill(this.failure, h("p.what", {}, what ?? ""), next_step ? h("p.next", {}, "→ ", next_step) : null,
      h("button.plain", { type: "button", "aria-label": this.words("dismiss"), onclick: this.onDismiss }, "×"));
  }
}
