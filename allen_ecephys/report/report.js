"use strict";
// The table of units, and the section of the unit that was clicked. Texts of the file become text nodes, never markup.
(() => {
  const data = JSON.parse(document.getElementById("unit-data").textContent);
  const table = data.table, details = data.details;
  const ROWS = 50, WIDTH = 270, HEIGHT = 190, LEFT = 44, RIGHT = 8, TOP = 8, BOTTOM = 34;
  const byId = (id) => document.getElementById(id);

  // --- building elements -------------------------------------------------------------------------------------------

  function filled(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }
  const make = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  // --- numbers -----------------------------------------------------------------------------------------------------

  function bytesOf(text) {
    const raw = atob(text), bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }
  const opened = new Map();
  function row(packed, unit) { // the numbers of one unit: 255 is missing, 0 to 254 lie between lowest and highest
    if (!opened.has(packed)) opened.set(packed, bytesOf(packed.bytes));
    const bytes = opened.get(packed).subarray(unit * packed.width, (unit + 1) * packed.width);
    return Array.from(bytes, (b) => (b === 255 ? NaN : packed.low[unit] + (packed.span[unit] * b) / 254));
  }
  const finite = (values) => values.filter(Number.isFinite);
  const extreme = (values, pick, none) => { const found = finite(values); return found.length ? found.reduce((a, b) => pick(a, b)) : none; };
  const largest = (values) => extreme(values, Math.max, 1) || 1;
  const smallest = (values) => extreme(values, Math.min, 0);
  function said(value) {
    if (value === null || !Number.isFinite(value)) return "";
    const size = Math.abs(value);
    return size >= 1e5 || (size > 0 && size < 1e-4) ? value.toExponential(1) : String(Number(value.toPrecision(4)));
  }

  // --- small figures -----------------------------------------------------------------------------------------------

  function ticks(low, high) {
    const rough = (high - low) / 4 || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
    return found;
  }
  function frame(x0, x1, y0, y1, xlabel, ylabel) {
    const root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    const X = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
    const Y = (y) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM);
    const put = (tag, attributes, ...children) => root.append(svg(tag, attributes, ...children));
    for (const t of ticks(x0, x1)) {
      put("line", { x1: X(t), x2: X(t), y1: Y(y0), y2: Y(y0) + 3, class: "axis" });
      put("text", { x: X(t), y: Y(y0) + 12, "text-anchor": "middle" }, said(t));
    }
    for (const t of ticks(y0, y1)) {
      put("line", { x1: LEFT - 3, x2: LEFT, y1: Y(t), y2: Y(t), class: "axis" });
      put("text", { x: LEFT - 5, y: Y(t) + 3, "text-anchor": "end" }, said(t));
    }
    put("path", { d: `M${LEFT},${TOP}V${Y(y0)}H${WIDTH - RIGHT}`, class: "axis" });
    put("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, xlabel);
    const middle = (TOP + HEIGHT - BOTTOM) / 2;
    put("text", { transform: `translate(9,${middle}) rotate(-90)`, "text-anchor": "middle" }, ylabel);
    return { root, X, Y, put };
  }
  function path(xs, ys, X, Y) { // a gap where a number is missing
    let pen = "M";
    return xs.map((x, i) => {
      if (!Number.isFinite(ys[i])) { pen = "M"; return ""; }
      const step = `${pen}${X(x).toFixed(1)},${Y(ys[i]).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
  }
  const centres = (from, to, n) => Array.from({ length: n }, (_, i) => from + ((i + 0.5) * (to - from)) / n);

  function waveform(unit) {
    const packed = details.waveform, contacts = [];
    const places = new DataView(bytesOf(details.contacts).buffer), values = row(packed, unit);
    for (let k = 0; k < packed.contacts; k++) {
      const place = places.getInt32(4 * (unit * packed.contacts + k), true);
      if (place < 0) continue;
      const trace = values.slice(k * packed.samples, (k + 1) * packed.samples);
      contacts.push({ x: details.positions[place][0], y: details.positions[place][1], trace });
    }
    if (!contacts.length) return null;
    const pitch = (name) => {
      const all = [...new Set(contacts.map((c) => c[name]))].sort((a, b) => a - b);
      return all.slice(1).reduce((least, v, i) => Math.min(least, v - all[i]), Infinity);
    };
    const dx = Number.isFinite(pitch("x")) ? pitch("x") : 20, dy = Number.isFinite(pitch("y")) ? pitch("y") : 20;
    const xs = contacts.map((c) => c.x), ys = contacts.map((c) => c.y), peak = contacts[0].trace;
    const high = largest(peak) - smallest(peak) || 1;
    const f = frame(Math.min(...xs) - 0.5 * dx, Math.max(...xs) + 0.5 * dx, Math.min(...ys) - 1.6 * dy,
      Math.max(...ys) + 1.2 * dy, "across the probe (µm)", "along the probe (µm)");
    contacts.forEach((c, k) => {
      const times = c.trace.map((_, i) => c.x + 0.9 * dx * (i / (packed.samples - 1) - 0.5));
      f.put("path", { d: path(times, c.trace.map((v) => c.y + (1.6 * dy * v) / high), f.X, f.Y),
        class: k ? "line thin" : "line mark" });
    });
    return [f.root, `peak to peak ${said(high)} µV; each trace ${said(packed.ms)} ms`];
  }
  function autocorrelogram(unit) {
    const lags = row(details.lags, unit), n = lags.length;
    const f = frame(-n, n, 0, largest(lags), "time from a spike (ms)", "rate (Hz)");
    const both = [...lags.slice().reverse(), ...lags];
    both.forEach((v, i) => f.put("rect", { x: f.X(i - n), width: f.X(1) - f.X(0), y: f.Y(v), height: f.Y(0) - f.Y(v),
      class: "bar" }));
    return [f.root, ""];
  }
  function overTime(unit) {
    const rate = row(details.rate, unit), times = centres(0, details.end, rate.length);
    const f = frame(0, details.end, 0, largest(rate), "time (s)", "firing rate (Hz)");
    f.put("path", { d: path(times, rate, f.X, f.Y), class: "line" });
    return [f.root, ""];
  }
  function amplitudes(unit) {
    const mean = row(details.amplitude, unit), sd = row(details.spread, unit);
    if (!finite(mean).length) return null;
    const times = centres(0, details.end, mean.length), top = mean.map((m, i) => m + sd[i]);
    const f = frame(0, details.end, Math.min(0, smallest(mean)), largest(top), "time (s)", "spike amplitude (µV)");
    mean.forEach((m, i) => Number.isFinite(m) && f.put("line", { x1: f.X(times[i]), x2: f.X(times[i]),
      y1: f.Y(m - sd[i]), y2: f.Y(top[i]), class: "spread" }));
    f.put("path", { d: path(times, mean, f.X, f.Y), class: "line" });
    return [f.root, "mean, and standard deviation of the spikes"];
  }
  function onset(packed, unit) {
    if (!packed) return null;
    const rate = row(packed, unit), times = centres(packed.from, packed.to, rate.length);
    const f = frame(packed.from, packed.to, 0, largest(rate), "time from onset (s)", "firing rate (Hz)");
    f.put("rect", { x: f.X(0), width: f.X(Math.min(packed.shown, packed.to)) - f.X(0), y: TOP,
      height: HEIGHT - TOP - BOTTOM, class: "shade" });
    f.put("path", { d: path(times, rate, f.X, f.Y), class: "line" });
    return [f.root, packed.title];
  }
  function tuning(unit) {
    const packed = details.tuning;
    if (!packed) return null;
    const mean = row(packed.mean, unit), sem = row(packed.sem, unit), at = packed.levels;
    const f = frame(at[0] - 5, at[at.length - 1] + 5, 0, largest(mean.map((m, i) => m + (sem[i] || 0))), packed.label,
      "firing rate (Hz)");
    at.forEach((x, i) => {
      f.put("line", { x1: f.X(x), x2: f.X(x), y1: f.Y(mean[i] - sem[i] || mean[i]), y2: f.Y(mean[i] + sem[i] || mean[i]),
        class: "line" });
      f.put("circle", { cx: f.X(x), cy: f.Y(mean[i]), r: 2.5, class: "point" });
    });
    f.put("path", { d: path(at, mean, f.X, f.Y), class: "line" });
    return [f.root, "mean and its standard error over presentations"];
  }
  const SCALE = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis
  function colour(share) {
    const at = Math.min(Math.max(share, 0), 1) * (SCALE.length - 1), low = Math.min(Math.floor(at), SCALE.length - 2);
    const mixed = SCALE[low].map((v, i) => Math.round(v + (SCALE[low + 1][i] - v) * (at - low)));
    return `rgb(${mixed.join(",")})`;
  }
  function field(unit) {
    const packed = details.field;
    if (!packed) return null;
    const values = row(packed, unit), low = smallest(values), high = largest(values);
    const { rows, columns } = packed, dx = (columns[1] - columns[0]) / 2, dy = Math.abs(rows[1] - rows[0]) / 2;
    const f = frame(columns[0] - dx, columns[columns.length - 1] + dx, rows[rows.length - 1] - dy, rows[0] + dy,
      "azimuth (degrees)", "elevation (degrees)");
    values.forEach((v, i) => {
      const x = columns[i % columns.length], y = rows[Math.floor(i / columns.length)];
      if (Number.isFinite(v)) f.put("rect", { x: f.X(x - dx), y: f.Y(y + dy), width: f.X(x + dx) - f.X(x - dx) + 0.3,
        height: f.Y(y - dy) - f.Y(y + dy) + 0.3, fill: colour((v - low) / (high - low || 1)) });
    });
    return [f.root, `gabors: ${said(low)} (dark) to ${said(high)} Hz`];
  }

  // --- the section of one unit -------------------------------------------------------------------------------------

  const FIGURES = [
    ["Waveform over the probe", waveform], ["Autocorrelogram", autocorrelogram], ["Rate over the session", overTime],
    ["Amplitude over the session", amplitudes], ["Response to onsets", (u) => onset(details.psth, u)],
    ["Receptive field", field], ["Tuning", tuning], ["Response to light", (u) => onset(details.light, u)],
  ];
  function open(unit) {
    const section = byId("unit"), where = order.indexOf(unit);
    const facts = table.columns.map((c) => [c.label, said(c.values[unit])]).filter(([, value]) => value !== "");
    facts.push(["shown", table.shown[unit] ? "yes" : `no: ${reasonsOf(unit)}`]);
    const list = make("dl", {}, ...facts.map(([label, value]) =>
      make("div", {}, make("dt", {}, label), make("dd", {}, value))));
    const step = (words, other) => {
      const button = make("button", { type: "button", class: words.toLowerCase() }, `${words} unit`);
      button.disabled = other === undefined;
      button.addEventListener("click", () => { location.hash = `unit-${table.id[other]}`; });
      return button;
    };
    const figures = make("div", { class: "figures" });
    if (unit >= details.n) figures.append(make("p", {}, "This page holds the curves of the first units only; this one's are not among them."));
    else for (const [title, draw] of FIGURES) {
      const drawn = draw(unit);
      if (drawn === null) continue;
      drawn[0].setAttribute("aria-label", `${title} of unit ${table.id[unit]}`);
      figures.append(make("figure", {}, make("figcaption", {}, title), drawn[0], make("small", {}, drawn[1])));
    }
    section.replaceChildren(
      make("h3", {}, `Unit ${table.id[unit]}, ${nameOf(table.structure, unit)}, ${nameOf(table.probe, unit)}`),
      make("p", { class: "steps" }, step("Previous", order[where - 1]), " ", step("Next", where < 0 ? undefined : order[where + 1])),
      list, figures);
    section.hidden = false;
    for (const line of byId("unit-rows").rows) line.classList.toggle("opened", line.dataset.unit === String(unit));
  }
  function openNamed() {
    const found = /^#unit-(-?\d+)$/.exec(location.hash), unit = found ? table.id.indexOf(found[1]) : -1;
    if (unit < 0) return;
    open(unit);
    byId("unit").scrollIntoView();
  }

  // --- the table ---------------------------------------------------------------------------------------------------

  const nameOf = (coded, unit) => coded.names[coded.codes[unit]];
  const reasonsOf = (unit) => table.hidden[unit].map((n) => table.reasons[n]).join(", ");
  const KEYS = {
    unit: (u) => u, probe: (u) => nameOf(table.probe, u), structure: (u) => nameOf(table.structure, u), hidden: reasonsOf,
  };
  table.columns.forEach((c) => { KEYS[c.name] = (u) => c.values[u]; });
  let order = [], sorted = { by: "unit", down: false }, first = 0;

  function chosen() {
    const words = byId("find").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const structure = byId("structure").value, probe = byId("probe").value, quality = byId("quality").value;
    const bound = byId("bound").value, metric = table.columns.find((c) => c.name === byId("metric").value);
    const fits = (u) => {
      if (structure && nameOf(table.structure, u) !== structure) return false;
      if (probe && nameOf(table.probe, u) !== probe) return false;
      if (quality === "shown" && !table.shown[u]) return false;
      if (quality === "hidden" && table.shown[u]) return false;
      if (quality.startsWith("by ") && !table.hidden[u].includes(Number(quality.slice(3)))) return false;
      if (metric && bound !== "") {
        const value = metric.values[u];
        if (value === null || (byId("side").value === "least" ? value < Number(bound) : value > Number(bound))) return false;
      }
      const text = `${table.id[u]} ${nameOf(table.structure, u)} ${nameOf(table.probe, u)}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    return table.id.map((_, u) => u).filter(fits);
  }
  function compare(a, b) {
    const key = KEYS[sorted.by], x = key(a), y = key(b), sign = sorted.down ? -1 : 1;
    if (x === null || y === null) return (x === null) - (y === null); // what is missing comes last either way
    return (typeof x === "string" ? x.localeCompare(y) : x - y) * sign || a - b;
  }
  function sparkline(unit) {
    if (unit >= details.n) return "";
    const rate = row(details.rate, unit), top = largest(rate);
    const d = path(rate.map((_, i) => i), rate, (x) => (x * 78) / (rate.length - 1) + 1, (y) => 17 - (16 * y) / top);
    return svg("svg", { viewBox: "0 0 80 18", class: "spark", "aria-hidden": "true" }, svg("path", { d, class: "line" }));
  }
  function line(unit) {
    const name = make("a", { href: `#unit-${table.id[unit]}` }, table.id[unit]);
    const cells = [nameOf(table.probe, unit), nameOf(table.structure, unit), sparkline(unit)].map((c) => make("td", {}, c));
    const numbers = table.columns.map((c) => make("td", { class: "number" }, said(c.values[unit])));
    const made = make("tr", { "data-unit": unit, class: table.shown[unit] ? "" : "hidden-unit" },
      make("th", { scope: "row" }, name), ...cells, ...numbers, make("td", { class: "why" }, reasonsOf(unit)));
    made.addEventListener("click", () => {
      if (location.hash === `#unit-${table.id[unit]}`) openNamed(); else location.hash = `unit-${table.id[unit]}`;
    });
    return made;
  }
  function show() {
    order = chosen().sort(compare);
    first = Math.max(0, Math.min(first, Math.floor((order.length - 1) / ROWS) * ROWS));
    byId("unit-rows").replaceChildren(...order.slice(first, first + ROWS).map(line));
    const last = Math.min(first + ROWS, order.length);
    byId("count").textContent = order.length
      ? `${order.length.toLocaleString("en")} of ${table.id.length.toLocaleString("en")} units; rows ${first + 1} to ${last}`
      : `none of ${table.id.length.toLocaleString("en")} units fits`;
    byId("earlier").disabled = first === 0;
    byId("later").disabled = last >= order.length;
    for (const head of byId("unit-heads").children) {
      if (head.dataset.key === sorted.by) head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }
  function begin() {
    const heads = [["unit", "unit"], ["probe", "probe"], ["structure", "structure"], [null, "rate over the session"],
      ...table.columns.map((c) => [c.name, c.label]), ["hidden", "hidden by"]];
    for (const [key, label] of heads) {
      const head = make("th", { scope: "col" }, key === null ? label : make("button", { type: "button" }, label));
      if (key !== null) {
        head.dataset.key = key;
        head.firstChild.addEventListener("click", () => {
          sorted = { by: key, down: sorted.by === key ? !sorted.down : false };
          first = 0;
          show();
        });
      }
      byId("unit-heads").append(head);
    }
    const options = (id, pairs) => byId(id).append(...pairs.map(([value, label]) => make("option", { value }, label)));
    const names = (coded) => [["", "all"], ...coded.names.slice().sort().map((name) => [name, name])];
    options("structure", names(table.structure));
    options("probe", names(table.probe));
    const any = table.shown.some(Boolean), all = table.shown.every(Boolean);
    options("quality", [["", "all"], ["shown", "shown by the filter"], ["hidden", "hidden by the filter"],
      ...table.reasons.map((name, n) => [`by ${n}`, `hidden by ${name}`])]);
    byId("quality").value = any && !all ? "shown" : "";
    options("metric", table.columns.map((c) => [c.name, c.label]));
    for (const id of ["find", "structure", "probe", "quality", "metric", "side", "bound"]) {
      for (const event of ["input", "change"]) byId(id).addEventListener(event, () => { first = 0; show(); });
    }
    byId("earlier").addEventListener("click", () => { first -= ROWS; show(); });
    byId("later").addEventListener("click", () => { first += ROWS; show(); });
    byId("units-controls").hidden = false;
    show();
    window.addEventListener("hashchange", openNamed);
    openNamed();
  }
  begin();
})();
