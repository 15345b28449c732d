// The form that starts a branch of the run: a kept checkpoint, and what is to change.

import { fill, h } from "../shared/common.js";

const FIELDS = [["learning_rate", "name_learning_rate"], ["batch_size", "branch_batch"], ["weight_decay", "branch_decay"]];

export class BranchForm {
  /** `ask(kind, values)` sends a request to Python. */
  constructor({ words }, ask) {
    Object.assign(this, { words, ask });
    this.pick = h("select", { "aria-label": words("branch_checkpoint") });
    this.fields = Object.fromEntries(FIELDS.map(([name, word]) => [name, h("input.td-rate", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": words(word) })]));
    this.start = h("button", { type: "submit", disabled: true }, words("branch_start"));
    this.none = h("p.faint", { hidden: true }, words("branch_none"));
    const onsubmit = event => { event.preventDefault(); this.submit(); };
    const labelled = (word, control) => h("label.td-rate-label", {}, h("span", {}, words(word)), control);
    this.form = h("form.row.td-branch-form", { onsubmit }, labelled("branch_checkpoint", this.pick), FIELDS.map(([name, word]) => labelled(word, this.fields[name])), this.start);
    this.element = h("details.td-fold.td-branch", { hidden: true, ontoggle: () => this.onToggle() },
      h("summary", {}, words("branch_title")), this.form, this.none, h("p.faint", {}, words("branch_note")));
  }

  draw(run) {
    this.element.hidden = run?.live.can?.branch !== "";
  }

  async onToggle() {
    if (!this.element.open) return;
    const answer = await this.ask("checkpoints", {});
    const steps = answer?.values.steps ?? [];
    fill(this.pick, steps.map(step => h("option", { value: String(step) }, this.words("step_at", { step: step.toLocaleString("en") }))));
    if (steps.length) this.pick.value = String(steps.at(-1));
    this.form.hidden = !steps.length;
    this.none.hidden = Boolean(steps.length);
    this.start.disabled = !steps.length;
  }

  async submit() {
    const given = FIELDS.map(([name]) => [name, this.fields[name].value.trim().replace(",", ".")]).filter(([, value]) => value);
    this.start.disabled = true;
    const answer = await this.ask("branch", { step: Number(this.pick.value), ...Object.fromEntries(given) });
    this.start.disabled = false;
    if (answer) Object.values(this.fields).forEach(field => { field.value = ""; });
  }
}
