// What the reader has chosen: run, another run beside it, steps, tool, trajectory. It is in the page's address, and
// what an address says is taken only where it names something that is there.
const choice = { run: PAGE.runs[0], other: null, first: 0, last: 0, tool: "", at: null };

const whole = (run) => [run.steps[0] ?? 0, run.steps.at(-1) ?? 0];
const runNamed = (name) => PAGE.runs.find((run) => run.name === name) ?? null;
const toolNumber = (run) => run.tools.indexOf(choice.tool) + 1;
const trajectoryId = (t) => [t.step, t.call, t.rank ?? "", t.sample].join(".");

// Changes some of the choice, and draws what that touches.
function choose(changes) {
  Object.assign(choice, changes);
  if (choice.other === choice.run) choice.other = null;
  const [first, last] = whole(choice.run);
  if (changes.run && !("first" in changes)) Object.assign(choice, { first, last });
  [choice.first, choice.last] = [choice.first, choice.last].map((step) => clamp(step, first, last)).sort((a, b) => a - b);
  if (choice.tool && !choice.run.tools.includes(choice.tool)) choice.tool = "";
  if (changes.run && !("at" in changes)) choice.at = null;
  const address = `#${addressOf()}`;
  if (location.hash !== address) history.replaceState(null, "", address);
  draw(changes);
}

function addressOf() {
  const words = new URLSearchParams();
  const [first, last] = whole(choice.run);
  if (PAGE.runs.length > 1) words.set("run", choice.run.name);
  if (choice.other) words.set("with", choice.other.name);
  if (choice.first !== first || choice.last !== last) words.set("steps", `${choice.first}-${choice.last}`);
  if (choice.tool) words.set("tool", choice.tool);
  if (choice.at) words.set("at", trajectoryId(choice.at));
  return words.toString();
}

// The choice that an address names; what it does not know is left out.
function choiceIn(hash) {
  const words = new URLSearchParams(hash.slice(1));
  const run = runNamed(words.get("run")) ?? PAGE.runs[0];
  const found = { run, other: runNamed(words.get("with")), tool: "", at: null };
  [found.first, found.last] = whole(run);
  const steps = /^(\d{1,15})-(\d{1,15})$/.exec(words.get("steps") ?? "");
  if (steps) [found.first, found.last] = [Number(steps[1]), Number(steps[2])];
  if (run.tools.includes(words.get("tool"))) found.tool = words.get("tool");
  found.at = run.trajectories.find((t) => trajectoryId(t) === words.get("at")) ?? null;
  return found;
}

const isAddress = (hash) => hash === "" || /^#(run|with|steps|tool|at)=/.test(hash);
