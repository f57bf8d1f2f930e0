// The trajectories of one prompt as a tree, and what branches score beside the prompt's others.

// Below so many prompts nothing is said.
const MIN_PROMPTS = 20;

function drawTree(t) {
  if (t.family.length < 2) return [];
  const members = new Map(t.family.map((member) => [member[0], member]));
  const children = (sample) => t.family.filter(([, parent]) => parent === sample);
  const seen = new Set();
  const draw = (member) => {
    const [sample, parent, rounds, score] = member;
    seen.add(sample);
    const label = [];
    if (parent !== null && rounds.length) {
      label.push(say("forked at round {round}, entropy {entropy}: ", { round: rounds[0][0], entropy: entropyText(rounds[0][1]) }));
    }
    const path = element("span", { class: "path" }, ...rounds.flatMap(([round, entropy], index) => [
      index ? " \u2192 " : "", element("span", { class: `lit ${shade(entropy)}` }, entropyText(entropy)),
    ]));
    const end = score === null ? null : element("span", { class: "score" }, say("score {score}", { score: plain(score) }));
    const there = choice.run.trajectories.find((o) => o.step === t.step && o.call === t.call && o.rank === t.rank && o.sample === sample);
    let name = element(sample === t.sample ? "strong" : "span", {}, `${say("no. {sample}", { sample })} `);
    if (there && there !== t) {
      name = element("button", { type: "button", class: "link" }, say("no. {sample}", { sample }));
      name.addEventListener("click", () => openTrajectory(there, true));
    }
    const inner = children(sample).filter(([other]) => !seen.has(other)).map(draw);
    return element("li", {}, name, " ", ...label, path, " ", end, inner.length ? element("ul", {}, ...inner) : null);
  };
  const roots = t.family.filter(([, parent]) => parent === null || !members.has(parent)).map(draw);
  return [
    element("h4", {}, say("The {n} trajectories of this prompt at this step", { n: t.family.length })),
    element("p", { class: "note" }, say("First entropies round by round; a branch stands below the one it forked from.")),
    element("ul", { class: "tree" }, ...roots),
  ];
}

function drawBranches() {
  const card = document.getElementById("branches");
  const run = choice.run;
  card.hidden = run.branches.every((value) => value === 0);
  if (card.hidden) return;
  const sums = sumOfRows(run.branches, ...rowsOf(run, choice.first, choice.last));
  const names = [say("Forks above the median entropy of their round"), say("Forks below it")];
  const rows = names.map((name, side) => {
    const [n, sum, squares] = sums.slice(3 * side, 3 * side + 3);
    const found = n >= MIN_PROMPTS ? meanInterval(n, sum, squares) : null;
    return element("tr", {}, element("th", { scope: "row" }, name),
      cell(found ? `${signed(found.mean)} [${signed(found.low)}, ${signed(found.high)}]` : say("too few prompts")), cell(counted(n)));
  });
  card.replaceChildren(
    element("h3", {}, say("What branches score, in the chosen steps")),
    table(say("Branches"), [say("Branches"), say("Score above their prompt's others"), say("Prompts")], rows),
    element("p", { class: "note" }, say("A branch's score minus the mean score of its prompt's other trajectories, averaged over the prompt's branches; mean over prompts with its 95 % interval (Student's t); left out below {least} prompts. The median is that of the records of the same step and round. This is not a causal effect.", { least: MIN_PROMPTS })),
  );
}

const signed = (value) => (value > 0 ? `+${short(value)}` : short(value));
