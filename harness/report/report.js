"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";
const COLOURS = ["--blue", "--violet", "--teal", "--pink", "--unknown", "--ok"];
const LEFT = 58, RIGHT = 14;
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const host = document.getElementById("charts");
const tip = document.body.appendChild(html("div", "tip"));
let chosen = 0, redraw = [];

function html(tag, cls, text) {
  const e = document.createElement(tag);
  if (cls) e.className = cls;
  if (text !== undefined) e.textContent = text;
  return e;
}
function svg(parent, tag, attrs, text) {
  const e = document.createElementNS(NS, tag);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  return parent.appendChild(e);
}
function seconds(v) {
  if (v === null || v === undefined) return "–";
  const a = Math.abs(v);
  if (a >= 1) return +v.toPrecision(3) + " s";
  if (a >= 1e-3) return +(v * 1e3).toPrecision(3) + " ms";
  return +(v * 1e6).toPrecision(3) + " µs";
}
const count = v => v === null ? "–" : v >= 1000 ? (+(v / 1000).toPrecision(3)) + "k" : String(+v.toPrecision(3));

function niceStep(span, wanted) {
  const raw = span / wanted, p = Math.pow(10, Math.floor(Math.log10(raw)));
  for (const m of [1, 2, 5, 10]) if (m * p >= raw) return m * p;
}
function linear(max, height) {
  const step = niceStep(max || 1, 4), top = Math.max(Math.ceil((max || 1) / step) * step, step), ticks = [];
  for (let v = 0; v <= top + step / 2; v += step) ticks.push(v);
  return {y: v => height - 8 - (height - 16) * v / top, ticks};
}
function logarithmic(values, height) {
  const some = values.filter(v => v > 0);
  let low = Math.floor(Math.log10(Math.min(...some, 1))), high = Math.ceil(Math.log10(Math.max(...some, 1e-9)));
  if (!some.length) { low = -3; high = 0; }
  if (high <= low) high = low + 1;
  const ticks = [];
  for (let e = low; e <= high; e++) ticks.push(Math.pow(10, e));
  return {y: v => height - 8 - (height - 16) * (Math.log10(Math.max(v, Math.pow(10, low))) - low) / (high - low), ticks};
}
function signed(values, height) {
  // like a logarithm on both sides of zero: lag is negative where a write was readable before its ack
  const unit = 1e-5, f = v => Math.sign(v) * Math.log10(1 + Math.abs(v) / unit);
  const known = values.filter(v => v !== null);
  const low = Math.min(0, ...known.map(f)), high = Math.max(f(1e-4), ...known.map(f));
  const all = [-1, -.1, -.01, -1e-3, -1e-4, 0, 1e-4, 1e-3, .01, .1, 1, 10, 100];
  const ticks = all.filter(v => f(v) >= low - 1e-9 && f(v) <= high + 1e-9);
  return {y: v => height - 8 - (height - 16) * (f(v) - low) / ((high - low) || 1), ticks};
}

function frame(title, height, legend) {
  const box = host.appendChild(html("div", "chart"));
  const head = box.appendChild(html("h3", "", title));
  for (const [name, colour] of legend || []) {
    const span = head.appendChild(html("span"));
    span.appendChild(html("i")).style.background = css(colour);
    span.append(name);
  }
  const width = Math.max(box.clientWidth, 320);
  const s = svg(box, "svg", {viewBox: `0 0 ${width} ${height + 18}`, height: height + 18, role: "img", "aria-label": title});
  const x = t => LEFT + (width - LEFT - RIGHT) * t / D.span;
  for (const p of D.phases)
    svg(s, "rect", {x: x(p.start), y: 0, width: Math.max(x(p.end) - x(p.start), 1), height, fill: css("--" + p.phase)});
  const step = niceStep(D.span, Math.max(4, width / 110));
  for (let t = 0; t <= D.span + 1e-9; t += step) {
    svg(s, "line", {x1: x(t), x2: x(t), y1: height, y2: height + 4, stroke: css("--line")});
    svg(s, "text", {x: x(t), y: height + 15, "text-anchor": t ? "middle" : "start"}, +t.toPrecision(6) + " s");
  }
  return {box, s, x, width, height};
}
function rule(c) {
  const line = svg(c.s, "line", {y1: 0, y2: c.height, stroke: css("--soft"), "stroke-width": 1, visibility: "hidden"});
  c.line = line;
  return c;
}
function axis(c, scale, format) {
  for (const v of scale.ticks) {
    svg(c.s, "line", {x1: LEFT, x2: c.width - RIGHT, y1: scale.y(v), y2: scale.y(v), stroke: css("--grid")});
    svg(c.s, "text", {x: LEFT - 8, y: scale.y(v) + 4, "text-anchor": "end"}, format(v));
  }
}
function path(c, scale, values, colour, extra) {
  let d = "", pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    d += (pen ? "L" : "M") + c.x(D.times[i]).toFixed(1) + " " + scale.y(v).toFixed(1);
    if (!pen && (i + 1 >= values.length || values[i + 1] === null)) d += "h2";
    pen = true;
  });
  svg(c.s, "path", {d, fill: "none", stroke: css(colour), "stroke-width": 1.8, "stroke-linejoin": "round", ...extra});
}
function area(c, scale, lower, upper, colour) {
  const top = upper.map((v, i) => `${c.x(D.times[i]).toFixed(1)} ${scale.y(v).toFixed(1)}`);
  const bottom = lower.map((v, i) => `${c.x(D.times[i]).toFixed(1)} ${scale.y(v).toFixed(1)}`).reverse();
  svg(c.s, "path", {d: "M" + top.concat(bottom).join("L") + "Z", fill: css(colour), "fill-opacity": .75});
}
function hover(c, rows) {
  rule(c);
  redraw.push(c);
  c.s.addEventListener("mousemove", event => {
    const r = c.s.getBoundingClientRect(), t = (event.clientX - r.left - LEFT) / (c.width - LEFT - RIGHT) * D.span;
    if (t < 0 || t > D.span) return leave();
    const i = Math.min(D.times.length - 1, Math.floor(t / D.span * D.times.length));
    for (const other of redraw) {
      other.line.setAttribute("x1", other.x(t));
      other.line.setAttribute("x2", other.x(t));
      other.line.setAttribute("visibility", "visible");
    }
    tip.replaceChildren(html("b", "", t.toFixed(1) + " s" + phase(t)));
    for (const [name, colour, text] of rows(i, t)) {
      const row = tip.appendChild(html("div"));
      row.appendChild(html("i")).style.background = css(colour);
      row.append(name + " " + text);
    }
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 16, innerWidth - tip.offsetWidth - 8) + "px";
    tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8) + "px";
  });
  c.s.addEventListener("mouseleave", leave);
}
function phase(t) {
  const p = D.phases.find(p => p.start <= t && t < p.end);
  return p ? ", " + p.phase : "";
}
function leave() {
  tip.style.display = "none";
  for (const c of redraw) c.line.setAttribute("visibility", "hidden");
}

function timeline() {
  const faults = D.faults.concat(D.steps.map(s => ({name: s.name, kind: s.kind, nodes: "", start: s.at, end: null})));
  const rows = faults.length + D.lanes.length, height = 22 * rows + 10;
  const c = frame("Faults and what each node saw", height,
    [["sees everyone", "--ok"], ["misses a node", "--undetected-solid"], ["Mnesia apart", "--detected-solid"], ["down", "--soft"]]);
  let y = 6;
  for (const f of faults) {
    const x0 = c.x(Math.max(f.start, 0)), label = f.kind + (f.nodes ? " " + f.nodes : "");
    if (f.end === null) svg(c.s, "path", {d: `M${x0} ${y + 1}l6 7l-6 7l-6 -7Z`, fill: css("--blue")});
    else svg(c.s, "rect", {x: x0, y: y + 1, width: Math.max(c.x(f.end) - x0, 3), height: 14, rx: 3, fill: css("--ink"), "fill-opacity": .72});
    const after = f.end === null ? x0 + 10 : Math.max(c.x(f.end), x0 + 3) + 6, flip = after > c.width - 150;
    svg(c.s, "text", {x: flip ? x0 - 8 : after, y: y + 12, class: "band", "text-anchor": flip ? "end" : "start"},
      (f.name && f.name !== f.kind ? f.name + ": " : "") + label);
    y += 22;
  }
  const colours = {whole: "--ok", apart: "--undetected-solid", mnesia: "--detected-solid", down: "--soft"};
  for (const lane of D.lanes) {
    svg(c.s, "text", {x: LEFT - 8, y: y + 12, "text-anchor": "end"}, lane.node);
    for (const p of lane.spans) {
      const r = svg(c.s, "rect", {x: c.x(p.start), y: y + 2, width: Math.max(c.x(p.end) - c.x(p.start), 1), height: 12, fill: css(colours[p.state]),
        "fill-opacity": p.state === "whole" ? .55 : .9});
      svg(r, "title", {}, `${lane.node} ${p.text}, ${p.start.toFixed(2)} s to ${p.end.toFixed(2)} s`);
    }
    for (const m of lane.marks) {
      const k = svg(c.s, "circle", {cx: c.x(Math.min(Math.max(m.at, 0), D.span)), cy: y + 8, r: 4.5, fill: css("--violet"), stroke: css("--card"), "stroke-width": 1.5});
      svg(k, "title", {}, `${m.at.toFixed(2)} s ${m.text}`);
    }
    y += 22;
  }
  hover(c, (i, t) => D.lanes.flatMap(lane => {
    const p = lane.spans.find(p => p.start <= t && t < p.end);
    return p ? [[lane.node, colours[p.state], p.text]] : [];
  }));
}
function throughput(o) {
  const c = frame("Operations per second", 130, [["ok", "--ok"], ["failed", "--fail"], ["unknown", "--unknown"]]);
  const one = o.ok, two = one.map((v, i) => v + o.fail[i]), three = two.map((v, i) => v + o.unknown[i]);
  const scale = linear(Math.max(...three), 130), zero = one.map(() => 0);
  axis(c, scale, count);
  area(c, scale, zero, one, "--ok");
  area(c, scale, one, two, "--fail");
  area(c, scale, two, three, "--unknown");
  hover(c, i => [["ok", "--ok", count(o.ok[i]) + "/s"], ["failed", "--fail", count(o.fail[i]) + "/s"], ["unknown", "--unknown", count(o.unknown[i]) + "/s"]]);
}
function latency(o) {
  const c = frame("Latency from the moment due (ok)", 170, [["p50", "--blue"], ["p99", "--violet"], ["longest", "--soft"]]);
  const scale = logarithmic(o.p50.concat(o.longest).filter(v => v !== null), 170);
  axis(c, scale, seconds);
  path(c, scale, o.longest, "--soft", {"stroke-width": 1, "stroke-opacity": .8});
  path(c, scale, o.p99, "--violet");
  path(c, scale, o.p50, "--blue");
  hover(c, i => [["p50", "--blue", seconds(o.p50[i])], ["p99", "--violet", seconds(o.p99[i])], ["longest", "--soft", seconds(o.longest[i])]]);
}
function lag() {
  if (!D.lag.length) return;
  const colour = i => COLOURS[i % COLOURS.length];
  const c = frame("Replication lag p99 (median dashed; negative: readable before the ack)", 150, D.lag.map((l, i) => [l.name, colour(i)]));
  const scale = signed(D.lag.flatMap(l => l.p50.concat(l.p99)), 150);
  axis(c, scale, v => v ? seconds(v) : "0");
  D.lag.forEach((l, i) => {
    path(c, scale, l.p50, colour(i), {"stroke-width": 1.1, "stroke-dasharray": "4 3"});
    path(c, scale, l.p99, colour(i));
  });
  hover(c, i => D.lag.map((l, k) => [l.name, colour(k), `p50 ${seconds(l.p50[i])}, p99 ${seconds(l.p99[i])}`]));
}
function backlog() {
  if (!D.backlog.length) return;
  const colour = i => COLOURS[i % COLOURS.length];
  const c = frame("Backlog: probe writes not yet on the replica", 100, D.backlog.map((b, i) => [b.name, colour(i)]));
  const scale = linear(Math.max(...D.backlog.flatMap(b => b.pending)), 100);
  axis(c, scale, count);
  D.backlog.forEach((b, i) => path(c, scale, b.pending, colour(i)));
  hover(c, i => D.backlog.map((b, k) => [b.name, colour(k), count(b.pending[i])]));
}
function draw() {
  host.replaceChildren();
  redraw = [];
  timeline();
  throughput(D.operations[chosen]);
  latency(D.operations[chosen]);
  lag();
  backlog();
}
const select = document.getElementById("operation");
D.operations.forEach((o, i) => select.append(new Option(o.name, i)));
select.addEventListener("change", () => { chosen = +select.value; draw(); });
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
