// The two charts over training, and the steps that are chosen in them.
const MAX_POINTS = 60;
// A ratio adds up neighbouring steps as the figure `effect` does (figures/effect.py): a twentieth of all steps, and
// more where they have fewer prompts than WIDE_PROMPTS, but at most a fifth.
const WINDOWS = 20, WIDE_PROMPTS = 40, MAX_SHARE = 5;

// Steps in bins of equal size, few enough to be told apart: [begin, end) rows.
function bins(run) {
  const size = Math.max(1, Math.ceil(run.places / MAX_POINTS));
  const found = [];
  for (let begin = 0; begin < run.places; begin += size) found.push([begin, Math.min(begin + size, run.places)]);
  return { size, found };
}

const middleOf = (run, [begin, end]) => (run.steps[begin] + run.steps[end - 1]) / 2;

// After / before around each step, null where the step has no prompt; `width` steps make a point.
function ratios(run, tool) {
  const prompts = run.steps.map((step, row) => sumsOf(run, tool, row, row + 1)[0]);
  const some = prompts.filter((n) => n > 0).sort((a, b) => a - b);
  const middle = (some[Math.floor((some.length - 1) / 2)] + some[Math.floor(some.length / 2)]) / 2;
  const wanted = Math.max(run.places / WINDOWS, WIDE_PROMPTS / middle);
  const half = some.length ? Math.floor(Math.min(wanted, run.places / MAX_SHARE) / 2) : 0;
  const near = run.steps.map((step, row) => {
    const found = ratioOf(sumsOf(run, tool, Math.max(row - half, 0), Math.min(row + half + 1, run.places)));
    return { step, known: prompts[row] > 0 && found.ratio > 0, ...found };
  });
  return { width: 2 * half + 1, near: withGaps(near).map((p) => (p?.known ? p : null)) };
}

// What the charts show of a run after a tool: quartiles after and before for each bin, and the ratio for each step.
function series(run) {
  const tool = toolNumber(run);
  run.series ??= new Map();
  if (run.series.has(tool)) return run.series.get(tool);
  const { size, found } = bins(run);
  const pools = pooled(run, (row, round, of) => {
    if (round >= 0 && tool && of !== tool) return null;
    return (round < 0 ? -1 : 1) * (1 + Math.floor(row / size));
  });
  const points = found.map((rows, index) => {
    const quartiles = (pool) => (pool && pool.n >= MIN_INTERVAL ? [0.25, 0.5, 0.75].map((p) => quantile(pool, p)) : null);
    return {
      step: middleOf(run, rows),
      after: quartiles(pools.get(1 + index)),
      before: quartiles(pools.get(-1 - index)),
    };
  });
  const made = { size, points: withGaps(points), ...ratios(run, tool) };
  run.series.set(tool, made);
  return made;
}

const shownRuns = () => [choice.run, choice.other].filter((run) => run !== null);

function stepsOfAll() {
  const ends = shownRuns().map(whole);
  return { first: Math.min(...ends.map(([first]) => first)), last: Math.max(...ends.map(([, last]) => last)) };
}

// Nats in a normalised entropy of 1, if the runs that are shown have one and the same vocabulary; else null.
function natsFactor() {
  const sizes = new Set(shownRuns().map((run) => run.vocab_size));
  const [size] = sizes;
  return sizes.size === 1 && size ? Math.log(size) : null;
}

// Where a trajectory's dot is: at its highest entropy after a tool result.
function peak(trajectory) {
  const values = trajectory.segments.filter((s) => s.after && s.entropies[0] !== null).map((s) => s.entropies[0]);
  return values.length ? Math.max(...values) : null;
}

function drawTraining() {
  const found = shownRuns().map(series);
  const dots = choice.run.trajectories.map(peak);
  const values = found.flatMap(({ points }) => points.flatMap((p) => [...(p?.after ?? []), ...(p?.before ?? [])]));
  const medians = found.flatMap(({ points }) => points.flatMap((p) => [p?.after?.[1] ?? 1, p?.before?.[1] ?? 1]));
  const shown = [...values, ...dots.filter((value) => value !== null)];
  // The lower end goes by the medians: a few values near 0 would leave no room to all others.
  const low = Math.max(Math.min(...(values.length ? medians : shown), 0.5) / 2, PAGE.lowest / 2);
  const high = Math.min(Math.max(...shown, low * 10) * 1.2, 1);
  const plot = chart(document.getElementById("training"), {
    ...stepsOfAll(), low, high, ticks: logTicks(low, high), name: say("Normalised entropy"), nats: natsFactor(),
  });
  const { svg, x, y } = plot;
  found.forEach(({ points }, index) => {
    for (const kind of ["before", "after"]) {
      const known = points.map((p) => p?.[kind] && [x(p.step), ...p[kind].map(y)]);
      if (!index) band(svg, known.map((p) => p && [p[0], p[1], p[3]]), kind);
      line(svg, known.map((p) => p && [p[0], p[2]]), index ? `${kind} other` : kind);
    }
  });
  plot.shade = mark(svg, "rect", { class: "chosen", y: plot.inner.top, height: plot.inner.bottom - plot.inner.top });
  plot.handles = ["first", "last"].map((end) => handle(plot, end));
  choice.run.trajectories.forEach((trajectory, index) => {
    if (dots[index] === null) return;
    const dot = mark(svg, "circle", { cx: x(trajectory.step), cy: y(dots[index]), r: 4, class: "dot" });
    dot.dataset.index = index;
    mark(dot, "title", {}, say("step {step}, trajectory {sample}: {entropy}", {
      step: trajectory.step, sample: trajectory.sample, entropy: short(dots[index]),
    }));
  });
  drag(plot);
  drawTraining.plot = plot;
  const notes = [say("Line: median; band: middle half.")];
  if (found[0].size > 1) notes.push(say("Each point pools {n} steps.", { n: found[0].size }));
  if (choice.other) notes.push(say("Dashed: {name}.", { name: choice.other.name }));
  if (choice.run.trajectories.length) notes.push(say("Dots: trajectories to read, at their highest entropy after a tool."));
  if (shown.some((value) => value < low)) notes.push(say("What is below {low} lies on the lower edge.", { low: short(low) }));
  notes.push(say("Drag, or move the two handles, to choose steps."));
  document.getElementById("training-note").textContent = notes.join(" ");
  placeSteps();
}

// A handle for one end of the chosen steps, moved by arrow keys.
function handle(plot, end) {
  const [first, last] = whole(choice.run);
  const names = { first: say("First step chosen"), last: say("Last step chosen") };
  const made = mark(plot.svg, "rect", {
    class: "handle", y: plot.inner.top, width: 8, height: plot.inner.bottom - plot.inner.top, rx: 3, tabindex: 0,
    role: "slider", "aria-label": names[end], "aria-valuemin": first, "aria-valuemax": last, "data-end": end,
  });
  made.addEventListener("keydown", (event) => {
    const tenth = Math.max(1, Math.round((last - first) / 10));
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -tenth, PageUp: tenth };
    const target = { Home: first, End: last }[event.key] ?? choice[end] + (moves[event.key] ?? NaN);
    if (Number.isNaN(target)) return;
    event.preventDefault();
    const bounded = end === "first" ? Math.min(target, choice.last) : Math.max(target, choice.first);
    choose({ [end]: bounded });
  });
  return made;
}

// Moves shade, handles and numbers to the chosen steps.
function placeSteps(first = choice.first, last = choice.last) {
  const plot = drawTraining.plot;
  const [left, right] = [plot.x(first), plot.x(last)];
  plot.shade.setAttribute("x", left);
  plot.shade.setAttribute("width", Math.max(right - left, 2));
  plot.handles.forEach((made, index) => {
    made.setAttribute("x", [left, right][index] - 4);
    made.setAttribute("aria-valuenow", [first, last][index]);
  });
  document.getElementById("first").value = first;
  document.getElementById("last").value = last;
}

// Pointer: from where it goes down to where it goes up are the chosen steps; a click on a dot opens its trajectory.
function drag(plot) {
  const stepOf = (event) => {
    const box = plot.svg.getBoundingClientRect();
    const [first, last] = whole(choice.run);
    const step = plot.stepAt(((event.clientX - box.left) / box.width) * plot.width);
    return clamp(step, first, last);
  };
  let from = null, end = null, dot = null, moved = false, x0 = 0;
  plot.svg.onpointerdown = (event) => {
    dot = event.target.closest(".dot");
    end = event.target.dataset.end ?? null;
    from = end === "first" ? choice.last : end === "last" ? choice.first : stepOf(event);
    [moved, x0] = [false, event.clientX];
    plot.svg.setPointerCapture(event.pointerId);
  };
  plot.svg.onpointermove = (event) => {
    if (from === null || Math.abs(event.clientX - x0) < 4 && !moved) return;
    moved = true;
    const to = stepOf(event);
    placeSteps(Math.min(from, to), Math.max(from, to));
  };
  plot.svg.onpointercancel = () => { from = null; placeSteps(); };
  plot.svg.onpointerup = (event) => {
    if (from === null) return;
    const [begin, to] = [from, stepOf(event)];
    from = null;
    if (moved) choose({ first: Math.min(begin, to), last: Math.max(begin, to) });
    else if (dot) openTrajectory(choice.run.trajectories[dot.dataset.index], true);
  };
}

function drawRatio() {
  const found = shownRuns().map(series);
  // Intervals of a few prompts may reach far: the axis goes by the ratios, and bands end at its ends.
  const values = found.flatMap(({ near }) => near.flatMap((p) => (p ? [p.ratio / 1.4, p.ratio * 1.4] : [])));
  const high = Math.min(2 ** Math.ceil(Math.log2(Math.max(...values, 2))), 64);
  const low = Math.max(2 ** Math.floor(Math.log2(Math.min(...values, 0.5))), 1 / 64);
  const ticks = [];
  for (let tick = low; tick <= high; tick *= 2) ticks.push(tick);
  const { svg, x, y, inner } = chart(document.getElementById("ratio"), {
    ...stepsOfAll(), low, high, ticks, name: say("After / before"), unit: "x",
  });
  mark(svg, "line", { x1: inner.left, x2: inner.right, y1: y(1), y2: y(1), class: "one" });
  found.forEach(({ near }, index) => {
    const kind = index ? "before" : "after";
    band(svg, near.map((p) => p && [x(p.step), y(Math.max(p.low, low)), y(p.high)]), kind);
    line(svg, near.map((p) => p && [x(p.step), y(p.ratio)]), index ? `ratio ${kind} other` : `ratio ${kind}`);
  });
  const notes = [say("Sum of the prompts' mean entropies after tool results over that of their starts; band: 95 % interval over prompts; at 1x a tool result changes nothing.")];
  if (found[0].width > 1) notes.push(say("Each point adds up {n} steps.", { n: found[0].width }));
  if (choice.other) notes.push(say("Dashed: {name}.", { name: choice.other.name }));
  document.getElementById("ratio-note").textContent = notes.join(" ");
}
