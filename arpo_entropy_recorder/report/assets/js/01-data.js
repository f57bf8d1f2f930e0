"use strict";
// What the page holds: the JSON block, each run's arrays, and sums over the groups that a reader chooses.
const PAGE = JSON.parse(document.getElementById("data").textContent);

// English in the reader's language; {name} is filled from `values`. No line breaks before a percent sign.
function say(english, values = {}) {
  const text = (PAGE.words[english] ?? english).replaceAll(" %", "\u00a0%");
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

const KINDS = {
  f8: Float64Array, f4: Float32Array, i4: Int32Array, u2: Uint16Array, u4: Uint32Array,
};

// Decodes a run's `packed` arrays; run.sums and run.branches are looked at by `sumsOf`, the rest by `pooled`.
async function unpack(run) {
  const bytes = Uint8Array.from(atob(run.packed), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  let at = 0;
  for (const [name, kind, size] of run.layout) {
    run[name] = new KINDS[kind](buffer, at, size);
    at += size * KINDS[kind].BYTES_PER_ELEMENT;
  }
  run.packed = "";
  run.places = run.steps.length;
}

// The rows of `run.steps` from step `first` to `last`, as [begin, end).
function rowsOf(run, first, last) {
  let begin = 0;
  while (begin < run.places && run.steps[begin] < first) begin += 1;
  let end = begin;
  while (end < run.places && run.steps[end] <= last) end += 1;
  return [begin, end];
}

// The sum of rows [begin, end) of `table`, whose rows are six numbers each.
function sumOfRows(table, begin, end) {
  const found = new Float64Array(6);
  for (let row = begin; row < end; row += 1) {
    for (let term = 0; term < 6; term += 1) found[term] += table[row * 6 + term];
  }
  return found;
}

// The six sums of rows [begin, end): n, A, B, AA, BB, AB; `tool` 0 is all tools.
const sumsOf = (run, tool, begin, end) =>
  sumOfRows(run.sums, tool * run.places + begin, tool * run.places + end);

const empty = () => ({ counts: new Float64Array(PAGE.bins), n: 0, total: 0 });

// Pools groups: `part(row, round, tool)` names the pool that a group goes to, or null. Returns a Map of pools.
function pooled(run, part) {
  const size = run.totals.length;
  const pools = new Map();
  for (let group = 0; group < size; group += 1) {
    const name = part(run.groups[group], run.groups[size + group], run.groups[2 * size + group]);
    if (name === null) continue;
    let pool = pools.get(name);
    if (!pool) pools.set(name, pool = empty());
    const base = group * PAGE.bins;
    for (let bin = 0; bin < PAGE.bins; bin += 1) {
      const count = run.counts[base + bin];
      if (count) {
        pool.counts[bin] += count;
        pool.n += count;
      }
    }
    pool.total += run.totals[group];
  }
  return pools;
}
