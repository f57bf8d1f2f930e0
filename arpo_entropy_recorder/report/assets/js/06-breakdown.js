// What the chosen steps hold, by round and by tool: tables whose first column of numbers is drawn.
const START_ROUND = -1;

// A horizontal box on a log axis: p10 to p90, the middle half, the median.
function box(pool, scale, kind) {
  const svg = svgElement("svg", { viewBox: "0 0 200 16", class: "box", "aria-hidden": "true", preserveAspectRatio: "none" });
  if (!pool || pool.n < MIN_INTERVAL) return svg;
  const place = (value) => 2 + 196 * clamp(Math.log(value / scale.low) / Math.log(scale.high / scale.low), 0, 1);
  const [p10, p25, p50, p75, p90] = [0.1, 0.25, 0.5, 0.75, 0.9].map((p) => place(quantile(pool, p)));
  mark(svg, "line", { x1: p10, x2: p90, y1: 8, y2: 8, class: "whisker" });
  mark(svg, "rect", { x: p25, width: Math.max(p75 - p25, 1), y: 3, height: 10, class: `middle ${kind}` });
  mark(svg, "line", { x1: p50, x2: p50, y1: 1, y2: 15, class: "median" });
  return svg;
}

function scaleOf(pools) {
  const large = pools.filter((pool) => pool && pool.n >= MIN_INTERVAL);
  const high = Math.max(...large.map((pool) => quantile(pool, 0.9)), PAGE.lowest * 10);
  const low = Math.min(...large.map((pool) => quantile(pool, 0.1)), high / 10);
  return { low, high };
}

// The chosen steps' pools: by round (START_ROUND: the starts), of the chosen tool, and by tool.
function breakdown(run) {
  const [begin, end] = rowsOf(run, choice.first, choice.last);
  const tool = toolNumber(run);
  const inside = (row) => row >= begin && row < end;
  return {
    rows: [begin, end],
    rounds: pooled(run, (row, round, of) => (inside(row) && (round < 0 || !tool || of === tool) ? round : null)),
    tools: pooled(run, (row, round, of) => (inside(row) && round >= 0 ? of : null)),
  };
}

function table(caption, heads, rows) {
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element("table", { class: "numbers" }, element("caption", {}, caption), element("thead", {}, head), element("tbody", {}, ...rows)));
}

const cell = (content) => element("td", {}, content);

function toolButton(name) {
  const button = element("button", { type: "button", class: "tool", "aria-pressed": String(choice.tool === name) }, name);
  button.addEventListener("click", () => {
    choose({ tool: choice.tool === name ? "" : name });
    document.querySelector("#tools [aria-pressed=true]")?.focus();
  });
  return button;
}

function drawBreakdown() {
  const found = shownRuns().map((run) => ({ run, ...breakdown(run) }));
  const several = found.length > 1;
  const named = (run) => (several ? [element("small", {}, run.name)] : []);
  const numbers = (pool) => [
    cell(short(quantile(pool, 0.5))), cell(short(meanOf(pool))), cell(counted(pool?.n ?? 0)),
  ];

  const rounds = [...new Set(found.flatMap((part) => [...part.rounds.keys()]))].sort((a, b) => a - b);
  const roundScale = scaleOf(found.flatMap((part) => [...part.rounds.values()]));
  const byRound = rounds.flatMap((round) => found.map((part, index) => {
    const label = round === START_ROUND ? say("start") : String(round);
    const kind = `${round === START_ROUND ? "before" : "after"}${index ? " other" : ""}`;
    const pool = part.rounds.get(round);
    return element("tr", {}, element("th", { scope: "row" }, label, " ", ...named(part.run)), cell(box(pool, roundScale, kind)), ...numbers(pool));
  }));
  document.getElementById("rounds").replaceChildren(
    element("h3", {}, say("By round, in the chosen steps")),
    table(say("By round"), [say("Round"), say("p10 to p90"), say("Median"), say("Mean"), "n"], byRound),
    element("p", { class: "note" }, axisWords(roundScale)),
  );

  const toolScale = scaleOf(found.flatMap((part) => [...part.tools.values()]));
  const names = [...new Set(found.flatMap((part) => part.run.tools))].sort();
  const byTool = names.flatMap((name) => found.filter((part) => part.run.tools.includes(name)).map((part) => {
    const number = part.run.tools.indexOf(name) + 1;
    const pool = part.tools.get(number);
    const ratio = ratioOf(sumsOf(part.run, number, ...part.rows));
    const label = part.run === choice.run ? toolButton(name) : name;
    return element("tr", {}, element("th", { scope: "row" }, label, " ", ...named(part.run)), cell(ratioText(ratio)),
      cell(box(pool, toolScale, part.run === choice.run ? "after" : "after other")), ...numbers(pool));
  }));
  document.getElementById("tools").replaceChildren(
    element("h3", {}, say("By tool, in the chosen steps")),
    ...(byTool.length
      ? [table(say("By tool"), [say("Tool"), say("After / before"), say("p10 to p90"), say("Median"), say("Mean"), "n"], byTool),
        element("p", { class: "note" }, `${axisWords(toolScale)} ${say("A tool's name chooses it for the whole page.")}`)]
      : [element("p", { class: "note" }, say("The records name no tools."))]),
  );
  drawChosen(found);
}

function axisWords({ low, high }) {
  const said = [say("Line: p10 to p90; box: middle half; tick: median; log axis from {low} to {high}.", { low: short(low), high: short(high) })];
  const nats = natsFactor();
  if (nats) said.push(say("In nats: {low} to {high}.", { low: short(low * nats), high: short(high * nats) }));
  return said.join(" ");
}

// The sentence on the chosen steps, for each run that is shown.
function drawChosen(found) {
  const lines = found.map(({ run, rows: [begin, end] }) => {
    const tool = toolNumber(run);
    const ratio = ratioOf(sumsOf(run, tool, begin, end));
    const values = {
      name: run.name, steps: `${run.steps[begin] ?? choice.first}\u2013${run.steps[end - 1] ?? choice.last}`,
      ratio: ratioText(ratio), after: short(ratio.after), before: short(ratio.before), n: counted(ratio.n),
      tool: choice.tool || say("any tool"),
    };
    const nats = run.vocab_size && Number.isFinite(ratio.before) ? Math.log(run.vocab_size) : null;
    const strong = element("strong", {}, values.ratio);
    strong.dataset.ratio = [ratio.ratio, ratio.low, ratio.high, ratio.n].join(" ");
    return element("p", {}, found.length > 1 ? `${run.name}: ` : "", say("Steps {steps}, after {tool}: ", values), strong,
      say(" of the start ({before} to {after}), n = {n} prompts.", values), nats ? ` ${say("In nats: {low} to {high}.", { low: short(ratio.before * nats), high: short(ratio.after * nats) })}` : "");
  });
  document.getElementById("chosen").replaceChildren(...lines);
}
