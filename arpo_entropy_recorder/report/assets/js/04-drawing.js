// Elements, and charts drawn as SVG: every colour is a class of the style sheet, every text is a text node.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function svgElement(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function mark(parent, name, attributes, text = null) {
  const made = svgElement(name, attributes);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

const MARGIN = { left: 56, right: 12, top: 26, bottom: 40 };

// An emptied chart with its scales: steps from left to right, values on a log axis, which `name` names. On the
// right the same axis stands in nats, if `nats`, those in a value of 1, are known.
function chart(svg, { first, last, low, high, ticks, name, unit = "", nats = null }) {
  svg.replaceChildren();
  const width = svg.clientWidth || 640, height = svg.clientHeight || 280;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const right = nats ? MARGIN.left : MARGIN.right;
  const inner = { left: MARGIN.left, right: width - right, top: MARGIN.top, bottom: height - MARGIN.bottom };
  const span = Math.max(last - first, 1);
  const x = (step) => inner.left + ((step - first) / span) * (inner.right - inner.left);
  const share = (value) => (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low));
  const y = (value) => inner.bottom - clamp(share(Math.max(value, 1e-12)), 0, 1) * (inner.bottom - inner.top);
  const stepAt = (pixel) => Math.round(first + ((pixel - inner.left) / (inner.right - inner.left)) * span);
  for (const tick of ticks) {
    mark(svg, "line", { x1: inner.left, x2: inner.right, y1: y(tick), y2: y(tick), class: "grid" });
    mark(svg, "text", { x: inner.left - 8, y: y(tick) + 4, class: "tick end" }, `${plain(tick)}${unit}`);
  }
  for (const step of stepTicks(first, last, inner.right - inner.left)) {
    mark(svg, "text", { x: x(step), y: inner.bottom + 18, class: "tick middle" }, String(step));
  }
  mark(svg, "text", { x: (inner.left + inner.right) / 2, y: height - 6, class: "tick middle" }, say("Global step"));
  mark(svg, "text", { x: 2, y: 14, class: "tick" }, name);
  if (nats) {
    mark(svg, "text", { x: width - 2, y: 14, class: "tick end" }, say("Nats"));
    for (const tick of logTicks(low * nats, high * nats)) {
      mark(svg, "text", { x: inner.right + 10, y: y(tick / nats) + 4, class: "tick nats" }, plain(tick));
    }
  }
  return { svg, x, y, inner, stepAt, width };
}

const plain = (value) => String(+value.toPrecision(3)).replace("-", "\u2212");

// 1, 2, 5 or 1 alone in each power of ten.
function logTicks(low, high) {
  const found = [];
  const marks = high / low < 100 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const number of marks) {
      const tick = number * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) found.push(tick);
    }
  }
  return found;
}

function stepTicks(first, last, width) {
  const wish = (last - first) / Math.max(width / 56, 1);
  const power = 10 ** Math.floor(Math.log10(Math.max(wish, 1)));
  const width_ = [1, 2, 5, 10].map((number) => number * power).find((size) => size >= wish) ?? 1;
  const found = [];
  for (let step = Math.ceil(first / width_) * width_; step <= last; step += width_) found.push(step);
  return found.length ? found : [first];
}

// A path through [x, y] points; a null starts it again.
function through(points) {
  let begun = false;
  return points.map((point) => {
    if (!point) { begun = false; return ""; }
    const command = begun ? "L" : "M";
    begun = true;
    return `${command}${point[0].toFixed(1)},${point[1].toFixed(1)}`;
  }).join("");
}

// A line through [x, y] points, and a spot for one that has no neighbour; nulls are gaps.
function line(parent, points, kind) {
  mark(parent, "path", { d: through(points), class: `line ${kind}` });
  points.forEach((point, at) => {
    if (!point || points[at - 1] || points[at + 1]) return;
    mark(parent, "circle", { cx: point[0], cy: point[1], r: 4, class: `spot ${kind}` });
  });
}

// The points with a null where steps are missing between two of them.
function withGaps(points) {
  const apart = points.slice(1).map((point, at) => point.step - points[at].step);
  const usual = [...apart].sort((a, b) => a - b)[Math.floor(apart.length / 2)];
  return points.flatMap((point, at) => (at && apart[at - 1] > 1.5 * usual ? [null, point] : [point]));
}

// Bands between two values, one for each stretch without gaps.
function band(parent, points, kind) {
  const stretches = [[]];
  for (const point of points) {
    if (point) stretches.at(-1).push(point);
    else if (stretches.at(-1).length) stretches.push([]);
  }
  for (const part of stretches.filter((stretch) => stretch.length > 1)) {
    const there = part.map(([at, low]) => [at, low]);
    const back = part.map(([at, , high]) => [at, high]).reverse();
    mark(parent, "path", { d: `${through([...there, ...back])}Z`, class: `band ${kind}` });
  }
}
