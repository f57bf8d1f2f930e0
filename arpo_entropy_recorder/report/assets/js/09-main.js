// Puts the page together once its arrays are there.
function fillSelect(id, entries, value) {
  const select = document.getElementById(id);
  select.replaceChildren(...entries.map(([key, text]) => element("option", { value: key }, text)));
  select.value = value;
}

function drawControls() {
  const names = PAGE.runs.map((run) => run.name);
  for (const id of ["run-label", "other-label"]) document.getElementById(id).hidden = names.length < 2;
  fillSelect("run", names.map((name) => [name, name]), choice.run.name);
  const others = names.filter((name) => name !== choice.run.name);
  fillSelect("other", [["", say("none")], ...others.map((name) => [name, name])], choice.other?.name ?? "");
  fillSelect("tool", [["", say("all")], ...choice.run.tools.map((tool) => [tool, tool])], choice.tool);
  const [first, last] = whole(choice.run);
  for (const id of ["first", "last"]) Object.assign(document.getElementById(id), { min: first, max: last });
}

function drawReaderControls() {
  const run = choice.run;
  const rounds = [...new Set(run.trajectories.flatMap((t) => t.segments.map((s) => s.round)))].sort((a, b) => a - b);
  fillSelect("round", [["", say("all")], ...rounds.map((round) => [String(round), String(round)])], "");
  const scored = run.trajectories.some((t) => t.score !== null);
  for (const label of document.querySelectorAll("label.scored")) label.hidden = !scored;
  document.querySelector("label.worded").hidden = !run.trajectories.some(hasText);
  for (const id of ["score-low", "score-high", "words"]) document.getElementById(id).value = "";
  document.getElementById("reader").hidden = !run.trajectories.length;
  document.getElementById("rule").textContent = run.rule;
}

// Redraws what a change touches.
function draw(changes) {
  const has = (...names) => names.some((name) => name in changes);
  if (has("run", "other", "tool")) drawControls();
  if (has("run")) drawReaderControls();
  if (has("run", "other", "tool")) {
    drawTraining();
    drawRatio();
  } else if (has("first", "last")) {
    placeSteps();
  }
  if (has("run", "other", "tool", "first", "last")) {
    drawBreakdown();
    drawBranches();
    drawList();
  }
  if (has("run", "tool", "at")) {
    drawPane();
    showInList(markCurrent());
  }
}

function listen() {
  const on = (id, event, act) => document.getElementById(id).addEventListener(event, act);
  on("run", "change", (event) => choose({ run: runNamed(event.target.value) }));
  on("other", "change", (event) => choose({ other: runNamed(event.target.value) }));
  on("tool", "change", (event) => choose({ tool: event.target.value }));
  for (const end of ["first", "last"]) {
    on(end, "change", (event) => {
      const step = Number(event.target.value);
      if (event.target.value !== "" && Number.isFinite(step)) choose({ [end]: Math.round(step) });
      else placeSteps();
    });
  }
  const tenth = (run) => Math.max(1, Math.round(run.places / 10));
  const choices = {
    all: (run) => whole(run),
    "first-tenth": (run) => [run.steps[0], run.steps[tenth(run) - 1]],
    "last-tenth": (run) => [run.steps[run.places - tenth(run)], run.steps.at(-1)],
  };
  for (const [id, ends] of Object.entries(choices)) {
    on(id, "click", () => {
      const [first, last] = ends(choice.run);
      choose({ first, last });
    });
  }
  on("round", "change", drawList);
  for (const id of ["score-low", "score-high", "words"]) on(id, "input", drawList);
  on("list", "keydown", moveInList);
  on("pane", "keydown", moveInTokens);
  let later = 0;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => { drawTraining(); drawRatio(); }, 100);
  });
  addEventListener("hashchange", () => {
    if (isAddress(location.hash) && location.hash !== `#${addressOf()}`) choose(choiceIn(location.hash));
  });
}

// The words of the page's own markup, in the reader's language.
function translate() {
  const walk = document.createTreeWalker(document.getElementById("explore"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.nodeValue.trim();
    if (Object.hasOwn(PAGE.words, text)) walk.currentNode.nodeValue = walk.currentNode.nodeValue.replace(text, PAGE.words[text]);
  }
  for (const named of document.querySelectorAll("#explore [aria-label]")) {
    named.setAttribute("aria-label", say(named.getAttribute("aria-label")));
  }
}

async function start() {
  await Promise.all(PAGE.runs.map(unpack));
  document.documentElement.classList.add("asks");
  document.getElementById("explore").hidden = false;
  document.getElementById("quantiles").textContent = say("Quantiles are within one bin of the records' ({width} wide, from {lowest} up); ratios and intervals are exact.", {
    width: `${((PAGE.lowest ** (-1 / (PAGE.bins - 1)) - 1) * 100).toFixed(1)} %`, lowest: PAGE.lowest,
  });
  translate();
  listen();
  choose(choiceIn(isAddress(location.hash) ? location.hash : ""));
  if (!choice.at && listed.length) choose({ at: listed[0] });
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

start();
