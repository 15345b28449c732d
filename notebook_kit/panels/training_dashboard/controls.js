// Where the run stands, in words and as a bar; how it goes; and the buttons that reach it.

import { fill, h } from "../shared/common.js";
import { duration, lastText, readableNumber } from "./store.js";

const TD_BUTTONS = ["pause", "stop", "save", "evaluate"];

/** The head of the panel. `onAsk(request, value)` when a person asks something of the run. */
export function headView(view, onAsk) {
  const { words } = view;
  const name = h("bdi"), pill = h("span.td-pill"), line = h("p.td-line"), spoken = h("p.sr", { role: "status", "aria-live": "polite" });
  const filled = h("div.td-filled"), marks = h("div.td-epochs", { "aria-hidden": "true" });
  const bar = h("div.td-bar", { role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100", "aria-label": words("progress") }, filled, marks);
  const verdict = h("p.td-verdict"), sign = h("span.td-verdict-sign", { "aria-hidden": "true" }), judged = h("span");
  verdict.append(sign, judged);
  const id = `td-why-${Math.random().toString(36).slice(2)}`;
  const why = h("p.td-why.faint", { id, hidden: true });
  const buttons = Object.fromEntries(TD_BUTTONS.map(request => [request,
    h("button", { type: "button", "data-ask": request, onclick: () => press(request) }, words(`ask_${request}`))]));
  const rate = h("input.td-rate", { type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": words("name_learning_rate") });
  const set = h("button", { type: "submit" }, words("set"));
  const form = h("form.td-rate-form", { onsubmit: event => {
    event.preventDefault();
    if (!set.disabled) onAsk("learning_rate", rate.value.trim().replace(",", "."));
  } }, h("label.td-rate-label", {}, h("span", {}, words("name_learning_rate")), rate), set);
  const row = h("div.row.td-buttons", { role: "group", "aria-label": words("controls") }, TD_BUTTONS.map(request => buttons[request]), form);
  const element = h("header.td-head", {}, h("div.row.td-title", {}, h("h3", {}, name), pill), line, bar, verdict, row, why, spoken);
  let status = "", said = 0, rated = null;

  const press = request => {
    if (buttons[request].getAttribute("aria-disabled") === "true") return;
    onAsk(request === "pause" && status === "paused" ? "resume" : request);
  };
  /** Why a button can do nothing now, as a key of the words; "" if it can. */
  const reason = (request, live, offline) => {
    if (offline) return "why_offline";
    if (live.can?.[request] === "why_loaded") return "why_loaded";
    if (live.status === "ended") return "why_ended";
    if (live.can?.[request]) return live.can[request];
    if (live.status === "idle" || !live.status) return "why_idle";
    if (live.status === "stopping") return "why_stopping";
    return "";
  };
  return {
    element,
    draw(run, { hears, silence, ticking, offline }) {
      const live = run?.live ?? {}, loss = run?.series.get("loss") ?? run?.series.get("eval_loss");
      status = live.status ?? "idle";
      name.textContent = run?.name ?? "";
      element.dataset.status = status;
      pill.textContent = words(`status_${status}`);
      const step = (live.step ?? 0).toLocaleString("en");
      const parts = [live.max_steps ? words("step_of", { step, all: live.max_steps.toLocaleString("en") }) : words("step_at", { step })];
      if (live.epochs && live.epoch !== null) parts.push(words("epoch_of", { epoch: readableNumber(live.epoch, 3), all: readableNumber(live.epochs) }));
      if (loss?.size) parts.push(words("loss_now", { value: lastText(words, loss) }));
      const going = ["running", "paused", "stopping"].includes(status);
      if (status === "running" && live.rate) parts.push(live.rate >= 1 ? words("steps_a_second", { count: readableNumber(live.rate, 3) }) : words("seconds_a_step", { count: readableNumber(1 / live.rate, 3) }));
      if (status === "running" && live.left !== null && live.left !== undefined) parts.push(words("left", { time: duration(words, Math.max(0, Math.round(live.left - Math.min(silence, 5)))) }));
      else if (live.elapsed !== null && live.elapsed !== undefined) parts.push(words(going ? "since" : "took", { time: duration(words, live.elapsed) }));
      if (going && silence > 20 && !offline) parts.push(words("silent", { time: duration(words, silence) }));
      const last = kind => run?.events.findLast(event => event.kind === kind)?.with ?? {};
      if (status === "ended" && !["finished", undefined].includes(last("end").reason)) {
        const { type, message } = last("end").reason === "error" ? last("error") : {};
        parts.push(words(`end_${last("end").reason.replaceAll(" ", "_")}`) + (type ? ` (${type}: ${message})` : ""));
      }
      line.textContent = parts.join(" · ");
      const part = live.max_steps ? Math.min(1, (live.step ?? 0) / live.max_steps) : null;
      bar.hidden = part === null;
      if (part !== null) {
        filled.style.width = `${part * 100}%`;
        bar.setAttribute("aria-valuenow", String(Math.round(part * 100)));
        bar.setAttribute("aria-valuetext", parts.slice(0, 2).join(", "));
        const epochs = live.epochs && live.epochs <= 40 ? Math.ceil(live.epochs) : 0;
        if (marks.childElementCount !== Math.max(0, epochs - 1))
          fill(marks, Array.from({ length: Math.max(0, epochs - 1) }, (_, i) => h("i", { style: { left: `${(i + 1) / live.epochs * 100}%` } })));
      }
      const kind = live.verdict?.kind ?? "early";
      verdict.dataset.kind = kind;
      verdict.hidden = !run?.series.size || kind === "no_loss";
      sign.textContent = { learning: "↘", flat: "→", rising: "↗", overfitting: "⇅", not_finite: "!", early: "…" }[kind] ?? "";
      judged.textContent = words(`verdict_${kind}`, Object.fromEntries(Object.entries(live.verdict ?? {}).map(([key, value]) =>
        [key, typeof value === "number" ? (Number.isInteger(value) ? value.toLocaleString("en") : readableNumber(value)) : value])));

      const reasons = new Map(), pending = new Set(live.pending ?? []);
      for (const request of [...TD_BUTTONS, "learning_rate"]) {
        const key = reason(request, live, offline), control = request === "learning_rate" ? set : buttons[request];
        if (key) reasons.set(key, [...(reasons.get(key) ?? []), request]);
        control.setAttribute("aria-disabled", String(!!key));
        if (key) control.setAttribute("aria-describedby", id); else control.removeAttribute("aria-describedby");
        control.title = key ? words(key) : "";
        control.classList.toggle("nk-td-waiting", pending.has(request));
      }
      set.disabled = rate.disabled = reasons.size > 0 && [...reasons.values()].some(list => list.includes("learning_rate"));
      buttons.pause.textContent = words(status === "paused" ? "ask_resume" : "ask_pause");
      const sentences = [...reasons].map(([key, list]) => (list.length === 5 ? words(key) : `${list.map(request => words(request === "learning_rate" ? "name_learning_rate" : `ask_${request}`)).join(", ")}: ${words(key)}`));
      if (!reasons.size && hears === "after" && going) sentences.push(words("why_after"));
      if (pending.size) sentences.unshift(words("asked_for", { what: [...pending].map(request => words(request === "learning_rate" ? "name_learning_rate" : `ask_${request}`)).join(", ") }));
      why.textContent = sentences.join(" ");
      why.hidden = !sentences.length;
      const now = run?.series.get("learning_rate")?.last?.[0];
      if (document.activeElement !== rate && now !== undefined && now !== rated) { rated = now; rate.value = String(Number(now.toPrecision(4))); }
      if (ticking && performance.now() - said > 30_000) { said = performance.now(); spoken.textContent = [words(`status_${status}`), ...parts].join(", "); }
    },
  };
}
