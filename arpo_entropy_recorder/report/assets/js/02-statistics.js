// Numbers as `arpo-entropy stats` has them: quantiles within a bin, ratio and interval from six sums.
const MIN_INTERVAL = 5;
const ROUNDING = 1e-9;
const NORMAL = 1.959963984540054;

// The lower edge of a bin; bin 0 goes down to 0.
const edgeOf = (bin) => (bin <= 0 ? 0 : PAGE.lowest ** (1 - (bin - 1) / (PAGE.bins - 1)));

// The value below which the share `p` lies, within one bin; NaN without values.
function quantile(pool, p) {
  if (!pool || !pool.n) return NaN;
  let rest = p * pool.n;
  let last = 0;
  for (let bin = 0; bin < pool.counts.length; bin += 1) {
    const count = pool.counts[bin];
    if (!count) continue;
    last = bin;
    if (rest <= count) {
      const low = edgeOf(bin);
      return bin === 0 ? PAGE.lowest / 2 : low * (edgeOf(bin + 1) / low) ** (rest / count);
    }
    rest -= count;
  }
  return edgeOf(last + 1);
}

const meanOf = (pool) => (pool && pool.n ? pool.total / pool.n : NaN);

// Student's t at 97.5 %: the table's, above it the expansion of Abramowitz and Stegun, 26.7.5.
function studentT(freedom) {
  if (freedom <= PAGE.t.length) return PAGE.t[Math.max(freedom, 1) - 1];
  const z = NORMAL, f = freedom;
  const g1 = (z ** 3 + z) / 4;
  const g2 = (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96;
  const g3 = (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384;
  const g4 = (79 * z ** 9 + 776 * z ** 7 + 1482 * z ** 5 - 1920 * z ** 3 - 945 * z) / 92160;
  return z + g1 / f + g2 / f ** 2 + g3 / f ** 3 + g4 / f ** 4;
}

// After / before with its 95 % interval, cut at 0 (Fieller 1954, as in analysis/ratio.py); NaN where it has no bound.
function ratioOf([n, sumA, sumB, sumAA, sumBB, sumAB]) {
  const a = sumA / n, b = sumB / n;
  const found = { n, after: a, before: b, ratio: NaN, low: NaN, high: NaN };
  if (n < MIN_INTERVAL) return found;
  const square = studentT(n - 1) ** 2 / (n * (n - 1));
  const c2 = b * b - square * (sumBB - n * b * b);
  const c1 = a * b - square * (sumAB - n * a * b);
  const c0 = a * a - square * (sumAA - n * a * a);
  if (!(c2 > 0)) return found;
  const half = Math.sqrt(Math.max(c1 * c1 - c2 * c0, (ROUNDING * c1) ** 2));
  return { ...found, ratio: a / b, low: Math.max((c1 - half) / c2, 0), high: (c1 + half) / c2 };
}

// A mean and its 95 % interval from n, sum and sum of squares (Student's t).
function meanInterval(n, sum, squares) {
  const mean = sum / n;
  const half = studentT(n - 1) * Math.sqrt(Math.max(squares - n * mean * mean, 0) / (n * (n - 1)));
  return { n, mean, low: mean - half, high: mean + half };
}

// Two decimals from 0.1 on, two digits below, as in the verdict.
function short(value) {
  if (!Number.isFinite(value)) return "\u2013";
  const text = Math.abs(value) >= 0.1 ? value.toFixed(2) : String(+value.toPrecision(2));
  return text.replace("-", "\u2212");
}

const intervalText = ({ low, high }) => (Number.isFinite(low) ? `[${short(low)}, ${short(high)}]` : "");
const ratioText = (found) =>
  (Number.isFinite(found.ratio) ? `${short(found.ratio)}x ${intervalText(found)}` : say("no ratio"));
const counted = (n) => n.toLocaleString("en-US");
