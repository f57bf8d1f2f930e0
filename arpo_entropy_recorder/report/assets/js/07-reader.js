// Trajectories to read: a list that filters and arrow keys go through, and a pane with one of them.
const SHADES = 10;
let listed = [];

// Entropies are shaded up to the page's 99th percentile.
const TOP = (() => {
  const values = PAGE.runs.flatMap((run) => run.trajectories.flatMap((t) => t.segments.flatMap((s) => s.entropies)));
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known.length ? Math.max(known[Math.floor(0.99 * (known.length - 1))], 1e-12) : 1;
})();
const shade = (entropy) => (entropy === null ? "" : `e${Math.round(SHADES * Math.sqrt(Math.min(entropy / TOP, 1)))}`);
const entropyText = (entropy) => (entropy === null ? "null" : short(entropy));

// An entropy in all its units.
function inWords(entropy) {
  if (entropy === null) return say("no entropy (null)");
  const size = choice.run.vocab_size;
  if (!size) return say("entropy {entropy}", { entropy: entropy.toPrecision(3) });
  const nats = entropy * Math.log(size);
  return say("entropy {entropy}: {nats} nats, like {choices} equally likely tokens", {
    entropy: entropy.toPrecision(3), nats: nats.toPrecision(3), choices: plain(Math.exp(nats)),
  });
}

const hasText = (t) => t.segments.some((s) => s.tokens);
const textOf = (segment) => (segment.tokens ? segment.tokens.join("") + segment.rest : "");
const toolOf = (segment) => choice.run.tools[segment.tool - 1] ?? null;

// Whether a trajectory is in the list.
function isListed(t, filters) {
  if (t.step < choice.first || t.step > choice.last) return false;
  const number = toolNumber(choice.run);
  const segments = t.segments.filter((s) => (!number || s.tool === number) && (filters.round === "" || s.round === Number(filters.round)));
  if (!segments.length) return false;
  if (filters.low !== "" && !(t.score !== null && t.score >= Number(filters.low))) return false;
  if (filters.high !== "" && !(t.score !== null && t.score <= Number(filters.high))) return false;
  if (!filters.words) return true;
  const all = [t.asked ?? "", ...t.segments.flatMap((s) => [textOf(s), s.result ?? ""])].join("\n").toLowerCase();
  return all.includes(filters.words.toLowerCase());
}

function filtersNow() {
  const value = (id) => document.getElementById(id).value;
  return { round: value("round"), low: value("score-low"), high: value("score-high"), words: value("words") };
}

// Data-parallel ranks count their trajectories each for itself.
const nameOf = (t) =>
  t.rank === null ? say("Step {step}, no. {sample}", t) : say("Step {step}, rank {rank}, no. {sample}", t);

function drawList() {
  const filters = filtersNow();
  listed = choice.run.trajectories.filter((t) => isListed(t, filters));
  const buttons = listed.map((t) => {
    const path = t.segments.map((s) => entropyText(s.entropies[0])).join(" \u2192 ");
    const score = t.score === null ? null : element("span", { class: "score" }, say("score {score}", { score: plain(t.score) }));
    const button = element("button", { type: "button", tabindex: "-1" },
      element("span", {}, nameOf(t)), " ", score, element("small", {}, path));
    button.dataset.id = trajectoryId(t);
    button.addEventListener("click", () => openTrajectory(t));
    return element("li", {}, button);
  });
  const list = document.getElementById("list");
  list.replaceChildren(...buttons);
  const scores = listed.map((t) => t.score).filter((score) => score !== null);
  const values = { n: listed.length, all: choice.run.trajectories.length, mean: scores.length ? plain(scores.reduce((a, b) => a + b) / scores.length) : "", scored: scores.length };
  document.getElementById("shown").textContent =
    say("{n} of {all} trajectories", values) + (scores.length ? say("; mean score {mean} of {scored}", values) : "");
  markCurrent();
}

// One entry of the list is the current one, and the only one that Tab reaches.
function markCurrent() {
  const buttons = [...document.querySelectorAll("#list button")];
  const id = choice.at ? trajectoryId(choice.at) : "";
  const current = buttons.find((button) => button.dataset.id === id);
  for (const button of buttons) {
    button.tabIndex = button === (current ?? buttons[0]) ? 0 : -1;
    if (button === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  return current;
}

// Scrolls the list alone: scrollIntoView would move the page, too, when it is opened.
function showInList(button) {
  if (!button) return;
  const list = document.getElementById("list");
  const [box, own] = [list.getBoundingClientRect(), button.getBoundingClientRect()];
  if (own.top < box.top) list.scrollTop -= box.top - own.top;
  else if (own.bottom > box.bottom) list.scrollTop += own.bottom - box.bottom;
}

function moveInList(event) {
  const buttons = [...document.querySelectorAll("#list button")];
  const at = buttons.indexOf(document.activeElement);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (target === undefined || !buttons[target]) return;
  event.preventDefault();
  buttons[target].focus();
  buttons[target].click();
}

// Shows a trajectory in the pane; `moves` brings the pane onto the screen.
function openTrajectory(t, moves = false) {
  choose({ at: t });
  if (moves) {
    const pane = document.getElementById("pane");
    pane.scrollIntoView({ block: "start" });
    pane.focus({ preventScroll: true });
  }
}

function drawPane() {
  const pane = document.getElementById("pane");
  const t = choice.at;
  pane.hidden = !t;
  if (!t) return;
  const parts = [
    element("h3", { id: "pane-title" }, say("Step {step}, trajectory {sample}", t)),
    element("p", { class: "note" }, facts(t)),
  ];
  if (t.asked !== null) {
    parts.push(element("details", {}, element("summary", {}, say("Prompt")), element("div", { class: "text", dir: "auto" }, t.asked)));
  }
  if (!hasText(t)) parts.push(element("p", { class: "note" }, withoutText()));
  pane.replaceChildren(...parts, element("ol", { class: "segments" }, ...t.segments.map(drawSegment)), ...drawTree(t));
  const tokens = pane.querySelectorAll(".token");
  if (tokens.length) tokens[0].tabIndex = 0;
  sayToken(null);
}

// The words that a trajectory comes with: how it was chosen, its mean entropy, score, rank, parent.
function facts(t) {
  const names = { high: say("of high entropy"), middle: say("of middle entropy"), low: say("of low entropy"), followed: say("the prompt followed through training") };
  const found = [t.why.split(", ").map((why) => names[why] ?? why).join(", ")];
  found.push(say("mean after tool results {level}", { level: entropyText(t.level) }));
  if (t.score !== null) found.push(say("score {score}", { score: plain(t.score) }));
  if (t.rank !== null) found.push(say("data-parallel rank {rank}", t));
  if (t.call) found.push(say("call {call}", t));
  if (t.parent !== null) found.push(say("branched from trajectory {parent}, which holds its beginning", t));
  return found.join("; ");
}

const withoutText = () => (PAGE.runs.some((run) => run.trajectories.some(hasText))
  ? say("The text of this trajectory is not known.")
  : PAGE.text);

function drawSegment(segment) {
  const tool = toolOf(segment);
  const item = element("li", { class: tool && tool === choice.tool ? "segment pointed" : "segment" });
  if (segment.after) {
    const who = element("p", { class: "who" }, say("Result of {tool}", { tool: tool ?? say("a tool") }) + (segment.result === undefined ? say("; its text was not recorded") : ""));
    item.append(element("div", { class: "result" }, who, segment.result ? element("div", { class: "text", dir: "auto" }, segment.result) : null));
  }
  const first = segment.entropies[0];
  item.append(element("p", { class: "who" }, say("Policy, round {round} ", segment),
    element("span", { class: `lit ${shade(first)}` }, entropyText(first))));
  if (segment.tokens) {
    const words = element("div", { class: "text written", dir: "auto" });
    let begun = false;
    segment.tokens.forEach((text, at) => {
      if (!text) return;
      words.append(token(text, segment.entropies[at], !begun));
      begun = true;
    });
    words.append(segment.rest);
    item.append(words);
  }
  return item;
}

// A token says its entropy where it is pointed at, tapped or focused; arrow keys go from one to the next.
function token(text, entropy, isFirst) {
  const said = `${JSON.stringify(text)}: ${inWords(entropy)}`;
  const made = element("span", {
    class: `token lit ${shade(entropy)}${isFirst ? " opening" : ""}`, tabindex: "-1", role: "button", "aria-label": said,
  }, text);
  const words = () => sayToken(said);
  made.addEventListener("pointerenter", words);
  made.addEventListener("focus", words);
  made.addEventListener("click", () => { made.focus(); words(); });
  made.dataset.entropy = entropy;
  return made;
}

function sayToken(words) {
  const line = document.getElementById("token-says");
  line.textContent = words ?? "";
  line.hidden = words === null;
}

function moveInTokens(event) {
  const tokens = [...document.querySelectorAll("#pane .token")];
  const at = tokens.indexOf(document.activeElement);
  const target = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
  if (at < 0 || target === undefined || !tokens[target]) return;
  event.preventDefault();
  tokens[at].tabIndex = -1;
  tokens[target].tabIndex = 0;
  tokens[target].focus();
}
