// GenerationView: a model that writes. The prompt, the tokens as they come, the chosen one, the settings, the branches.

import { debounced, download, fill, h, startView } from "../shared/common.js";
import { visible } from "../shared/letters.js";
import { screenPicture } from "../shared/pictures.js";
import { PROBABILITY_COLOURS, percentOf } from "../shared/probabilities.js";
import { alternativesView, lookingView } from "./alternatives.js";
import { settingsView } from "./controls.js";
import { GV_PART, gvFloats, tokensView } from "./tokens.js";

const GV_TRAITS = ["prompt", "chosen", "branch", "running", "chat", "do_sample", "temperature", "top_k", "top_p", "repetition_penalty", "max_new_tokens", "seed",
  "colour", "layer", "head", "combine", "_about", "_branches", "_problem"];

export default { render({ model, el }) {
  let end = generationView(model, el);
  const again = () => { end(); end = generationView(model, el); };   // most words are written once
  model.on("change:_language", again);
  return () => { model.off("change:_language", again); end(); };
} };

function generationView(model, el) {
  const view = startView(model, el, "generation_view");
  const { words } = view;
  const trait = name => model.get(name);
  const about = () => trait("_about") ?? {};
  const put = values => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
    schedule();
  };
  /** Whether something differs from what was drawn last: what stays as it was is not made anew, as a click may be under way on it. */
  const drawnLast = new Map();
  const isNew = (name, ...values) => {
    const before = drawnLast.get(name);
    if (before && before.length === values.length && before.every((value, i) => value === values[i])) return false;
    drawnLast.set(name, values);
    return true;
  };
  let branch = 0, shownOf = null, told = null, looked = null, ended = false, asking = "", last = "";

  // The parts -------------------------------------------------------------------------------------------------------

  const settings = settingsView(model, view);
  const paper = tokensView(view, { onChoose: position => put({ chosen: position }), onPoint: (kind, place) => point(kind, place) });
  const alternatives = alternativesView(view, token => view.ask("continue", { branch, position: told.position, token }, "write"));
  const looking = lookingView(view, values => put(values));

  const savePrompt = debounced(250, () => model.save_changes());
  const prompt = h("textarea.gv-prompt", { rows: 3, dir: "auto", "aria-label": words("prompt"), placeholder: words("prompt_here"), title: words("prompt_hint"),
    oninput: () => { model.set("prompt", prompt.value); savePrompt(); },
    onkeydown: event => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); write(); }
      if (event.key === "Escape" && trait("running")) view.ask("stop");
    } });
  const write = () => { savePrompt.stop(); settings.flush(); return view.ask("generate", { prompt: prompt.value }, "write"); };
  const generate = h("button.gv-primary", { type: "button", title: words("prompt_hint"), onclick: write }, words("generate"));
  const stop = h("button", { type: "button", onclick: () => view.ask("stop") }, words("stop"));
  const onward = h("button", { type: "button", onclick: () => { settings.flush(); view.ask("go_on", {}, "write"); } }, words("go_on"));
  const chat = h("input", { type: "checkbox", onchange: () => put({ chat: chat.checked }) });
  const chatLabel = h("label.gv-check", {}, chat, h("span", {}, words("chat")));
  const status = h("span.gv-status", { role: "status", "aria-live": "polite" });
  const problem = h("div.error", { role: "alert", hidden: true });
  const notice = h("p.faint"), empty = h("p.gv-empty.faint");
  const colour = h("select", { "aria-label": words("colour_by"), onchange: event => put({ colour: event.target.value }) },
    ["probability", "entropy", "attention"].map(name => h("option", { value: name }, words(name))));
  const legend = h("span.gv-legend");
  const readout = h("p.gv-readout", {}, words("readout_hint"));
  const exports = h("span.gv-export", {}, ["png", "svg"].map(type =>
    h("button", { type: "button", "aria-label": words("save_as", { type: type.toUpperCase() }), onclick: () => takePicture(type) }, type.toUpperCase())));
  const bar = h("div.row.gv-bar-row", {}, h("label.gv-labelled", {}, h("span", {}, words("colour_by")), colour), legend, h("span.gv-space"), exports);
  const heading = h("h3"), facts = h("p.gv-facts");
  const story = h("section.gv-story", { "aria-label": words("story"), hidden: true }, heading, facts, h("div.gv-columns", {}, alternatives.element, looking.element));
  const branches = h("section.gv-branches", { "aria-label": words("branches"), hidden: true });
  const left = h("div.gv-left", {}, prompt, h("div.row", {}, generate, stop, onward, chatLabel, status), problem, notice, bar, empty, paper.element, readout, branches, story);
  fill(view.body, h("div.gv-main", {}, left, settings.element));

  // What is there ---------------------------------------------------------------------------------------------------

  const rowsOf = buffer => { const flat = gvFloats(buffer); return Array.from({ length: flat.length / 4 }, (_, i) => [...flat.subarray(4 * i, 4 * i + 4)]); };
  const onShown = () => show(trait("_shown") ?? {});
  const show = shown => {
    shownOf = shown;
    if (branch !== shown.branch) { told = looked = null; asking = last = ""; }
    branch = shown.branch ?? 0;
    paper.draw({ context: shown.context ?? [], tokens: shown.tokens ?? [], numbers: rowsOf(shown.numbers), apart: about().reads_apart });
    if (trait("running")) catchUp();
    schedule();
  };
  const add = (first, tokens, numbers) => {
    const { now } = paper, skip = now.tokens.length - first;
    if (skip < 0 || skip >= tokens.length) return;
    paper.draw({ ...now, tokens: [...now.tokens, ...tokens.slice(skip)], numbers: [...now.numbers, ...numbers.slice(skip)] });
    schedule();
  };
  /** The tokens that were told of before this page listened. */
  const catchUp = async () => {
    const of = branch;
    if (model.offline) return;
    const answer = await view.ask("tokens", { branch: of, first: paper.now.tokens.length }, "tokens");
    if (answer && !answer.values.gone && branch === of) add(answer.values.first, answer.values.tokens, rowsOf(answer.buffers[0]));
  };
  /** In a file on disk there is no kernel that would show another branch. */
  const onBranch = async () => {
    if (!model.offline || trait("branch") === branch) return;
    const answer = await view.ask("tokens", { branch: trait("branch"), first: 0 }, "tokens");
    if (answer) show({ ...answer.values, numbers: answer.buffers[0] });
  };
  const onNews = (content, buffers) => {
    const news = content?.nk_news;
    if (!news || news.branch !== branch) return;
    if (news.first > paper.now.tokens.length) return catchUp();
    return add(news.first, news.tokens, rowsOf(buffers[0]));
  };

  // The chosen token ----------------------------------------------------------------------------------------------------

  const attentionQuestion = () => ({ branch, position: trait("chosen"), layer: trait("layer"), head: trait("head"), combine: trait("combine") });
  const known = position => position !== null && position !== undefined && position < paper.now.tokens.length;
  const askStep = async () => {
    const position = trait("chosen"), key = `${branch} ${position}`;
    if (!known(position)) { told = null; asking = ""; return; }
    if (asking === key) return;
    asking = key;
    const answer = await view.ask("step", { branch, position });
    if (!answer || answer.values.gone || asking !== key || ended) { if (asking === key) asking = ""; return; }
    told = { branch, ...answer.values, numbers: gvFloats(answer.buffers[0]) };
    schedule();
  };
  const askLook = async () => {
    const values = attentionQuestion(), key = JSON.stringify(values);
    if (trait("colour") !== "attention" || !known(values.position) || !(about().heads ?? []).length) { looked = null; last = ""; return; }
    if (last === key) return;
    last = key;
    looked = null;
    const answer = await view.ask("attention", values);
    if (last !== key || ended) return;
    if (!answer || answer.values.gone) { looked = null; return; }
    looked = { position: values.position, weights: gvFloats(answer.buffers[0]) };
    schedule();
  };
  const before = () => (paper.now.apart ? paper.now.context : [...paper.now.context, ...paper.now.tokens]);
  /** The weight that fills a token to the brim: the first token takes most in many models and would dwarf the rest. */
  const topOf = weights => {
    const rest = looking.withoutFirst && weights.length > 1 ? weights.subarray(1) : weights;
    return Math.max(1e-6, ...rest);
  };
  const point = (kind, place) => {
    if (kind === null) return fill(readout, words("readout_hint"));
    const entry = paper.now[kind][place];
    if (!entry) return null;
    const at = kind === "tokens" && !paper.now.apart ? paper.now.context.length + place : place;
    const weight = kind === "tokens" && paper.now.apart ? undefined : looked?.weights[at];
    const parts = [h("b.mono", {}, h("bdi", {}, entry[2] === GV_PART ? entry[0] : visible(entry[0])))];
    if (kind === "tokens") {
      const [probability, rank, entropy] = paper.now.numbers[place] ?? [];
      parts.push(percentOf(probability), words("rank_is", { rank }), words("entropy_is", { entropy: entropy.toFixed(2) }));
    }
    parts.push(words("id_is", { id: entry[1] }));
    if (weight !== undefined) parts.push(words("weight_is", { weight: weight.toFixed(4) }));
    return fill(readout, parts.flatMap((part, i) => (i ? [" · ", part] : [part])));
  };

  // Drawing ---------------------------------------------------------------------------------------------------------------

  const drawBranches = () => {
    const lines = trait("_branches") ?? [];
    branches.hidden = lines.length < 2;
    if (branches.hidden || !isNew("branches", lines, branch)) return;
    const focused = branches.contains(document.activeElement) ? document.activeElement.dataset.branch : null;
    fill(branches, h("h3", {}, words("branches")), h("ol.gv-list", {}, [...lines].reverse().map(line => {
      const start = line.parent === null ? words("branch_root", { prompt: line.prompt.slice(0, 40) + (line.prompt.length > 40 ? "…" : "") }) : words("branch_from", { parent: line.parent, place: line.fork });
      const facts_ = [words("count_tokens", { count: line.count }), line.perplexity === null ? null : words("perplexity_is", { value: line.perplexity.toFixed(2) })].filter(Boolean).join(" · ");
      return h("li", {}, h("button.gv-branch", { type: "button", "data-branch": line.branch, "aria-current": line.branch === branch ? "true" : null, onclick: () => put({ branch: line.branch }) },
        h("span.gv-branch-number", {}, String(line.branch)),
        h("span.gv-branch-text", {}, h("span.faint", {}, `${start} `), h("span.gv-branch-tokens", { dir: "auto" }, line.tokens.flatMap((token, i) => (i || line.parent === null ? visible(token) : [h("b", {}, visible(token))])), line.count - line.fork > line.tokens.length ? " …" : "")),
        h("span.gv-branch-facts.faint", {}, facts_)));
    })));
    if (focused) branches.querySelector(`[data-branch="${focused}"]`)?.focus();
  };
  const drawLegend = () => {
    const kind = trait("colour");
    if (!isNew("legend", kind)) return;
    const ends = { probability: ["0%", "100%"], entropy: [words("unsure"), words("sure")], attention: [words("weight_none"), words("weight_most")] }[kind];
    const scale = kind === "attention" ? h("span.gv-scale.gv-scale-fill", { "aria-hidden": "true" }, [0.15, 0.4, 0.7, 1].map(part => h("span", { style: { "--part": String(part) } })))
      : h("span.gv-scale", { "aria-hidden": "true" }, Array.from({ length: 16 }, (_, i) => h("span", { style: { "background-color": PROBABILITY_COLOURS[i * 17].back } })));
    fill(legend, h("span", {}, ends[0]), scale, h("span", {}, ends[1]));
  };
  const drawStory = () => {
    const position = trait("chosen"), ready = told && told.branch === branch && told.position === position && known(position);
    if (!known(position)) { story.hidden = true; return; }
    if (!ready) return;                     // what stood there stays until the answer is there
    story.hidden = false;
    if (!isNew("story", told)) return;
    const [text, id, kind] = paper.now.tokens[position], [probability, rank, entropy, after] = paper.now.numbers[position] ?? [];
    fill(heading, words("token_at", { place: position }), " ", h("bdi.gv-quoted.mono", {}, kind === GV_PART ? text : visible(text)));
    const fact = (name, value) => [h("span.faint", {}, words(name)), " ", h("b", {}, value)];
    fill(facts, [fact("probability", percentOf(probability)), fact("rank", String(rank)), fact("id", String(id)), fact("after", percentOf(after)), fact("entropy", words("nats", { value: entropy.toFixed(2) }))]
      .map(one => h("span.gv-fact", {}, one)));
    alternatives.draw({ ...told, vocabulary: about().vocabulary, offline: model.offline });
  };
  const draw = () => {
    if (ended) return;
    const running = trait("running") && !model.offline, count = paper.now.tokens.length, wrong = trait("_problem") ?? {}, ready = Boolean(about().vocabulary || about().name);
    if (prompt.value !== trait("prompt")) prompt.value = trait("prompt");
    settings.draw();
    generate.disabled = !ready;
    stop.hidden = !running;
    onward.hidden = running || !count || shownOf?.ended === "end";
    chatLabel.hidden = !about().has_chat;
    chat.checked = trait("chat");
    for (const one of [generate, onward]) one.hidden = one.hidden || Boolean(model.offline);
    prompt.readOnly = Boolean(model.offline);
    problem.hidden = !wrong.what;
    fill(problem, wrong.what ? h("p.what", {}, wrong.what) : null, wrong.next_step ? h("p.next", {}, "→ ", wrong.next_step) : null);
    notice.hidden = !model.offline;
    fill(notice, words("offline_note"));
    const said = running ? words("writing", { count }) : count && shownOf?.ended ? [words("count_tokens", { count }), words(`ended_${shownOf.ended}`), shownOf.rate ? words("rate_is", { rate: shownOf.rate.toFixed(shownOf.rate < 10 ? 1 : 0) }) : null].filter(Boolean).join(" · ") : "";
    if (status.textContent !== said) status.textContent = said;
    empty.hidden = branch !== 0;
    empty.textContent = words(ready ? "empty_text" : "empty");
    paper.element.hidden = bar.hidden = readout.hidden = branch === 0;
    colour.value = trait("colour");
    looking.controls({ on: trait("colour") === "attention", heads: about().heads ?? [], state: { layer: trait("layer") ?? null, head: trait("head") ?? null, combine: trait("combine") }, apart: Boolean(about().reads_apart), offline: model.offline });
    askStep();
    askLook();
    const seen = looked && looked.position === trait("chosen") ? looked.weights : null;
    paper.paint({ colour: trait("colour"), chosen: trait("chosen"), unsure: Math.log(Math.max(2, about().vocabulary || 2)), weights: seen, top: seen ? topOf(seen) : 1, fork: shownOf?.fork ?? null, running });
    if (isNew("looking", seen)) looking.draw(seen, before());
    drawLegend();
    drawBranches();
    drawStory();
  };
  let waiting = false;
  const schedule = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => { waiting = false; draw(); });
  };

  const takePicture = async type => {
    const picture = screenPicture([paper.element, branches, story].filter(one => !one.hidden), view.root);
    if (type === "svg") return download("generation.svg", "image/svg+xml", picture.svg());
    return download("generation.png", "image/png", await picture.png());
  };

  for (const name of GV_TRAITS) view.on(`change:${name}`, schedule);
  view.on("change:_shown", onShown);
  view.on("change:branch", onBranch);
  view.on("msg:custom", onNews);
  view.later(() => { ended = true; savePrompt.stop(); settings.stop(); });
  onShown();
  return () => view.end();
}
