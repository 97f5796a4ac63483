// The explorer. Data come as columns, a row an evaluation; names from results only ever become
// text nodes. Sections: what the data are, the state and its link, answers, controls, plots.
(function () {
"use strict";

// ---- data ----------------------------------------------------------------------------------
const data = JSON.parse(document.getElementById("data").textContent);
const { levels, values, scopes, metrics, points, clean } = data;
const count = points.scope.length;
const others = points.labels; // row -> label, of settings that the five controls can't say
const rows = new Map(); // "scope/1-1-4-1-max" -> row
for (let row = 0; row < count; row++) {
  if (points.cr[row]) rows.set(scopes[points.scope[row]] + "/" + points.cr[row], row);
}
const CLEAN = levels.map(() => "1").join("-");
const byId = (id) => document.getElementById(id);
document.querySelector('#axis option[value="smaller"]').textContent =
  "times smaller than " + data.wire + " in fp32";
const lookUp = (scope, cr) => {
  const row = rows.get(scope + "/" + cr);
  if (row !== undefined || cr !== CLEAN) return row;
  return scopes.map((one) => rows.get(one + "/" + cr)).find((one) => one !== undefined);
};

function element(tag, text, attributes) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const name in attributes || {}) made.setAttribute(name, attributes[name]);
  return made;
}
const fixed = (value, digits = 1) => {
  if (value === null || value === undefined) return "–";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
};
// As people write numbers: 0.724, 12.4, 939, 10,400.
const human = (value) => (
  value >= 99.95 ? Math.round(value).toLocaleString("en") : value.toPrecision(3));
const signed = (value) => {
  const text = fixed(value);
  return Number(text) > 0 ? "+" + text : text;
};
function size(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return (unit === 0 || bytes >= 100 ? bytes.toFixed(0) : bytes.toPrecision(3)) + " " + units[unit];
}
const nameOf = (row) => (points.cr[row] ? points.cr[row].split("-").join(" ") : others[row]);

// ---- the state, and the link that reopens it ------------------------------------------------
const state = {
  scope: scopes.includes("pyramid") ? "pyramid" : scopes[0],
  cr: levels.map(() => "1"),
  other: null, // the row of a method that isn't ratios alone
  metric: metrics[0],
};

const currentRow = () =>
  state.other !== null ? state.other : lookUp(state.scope, state.cr.join("-"));

function toHash() {
  const what = state.other !== null ? "id-" + points.ids[state.other] : state.cr.join("-");
  const parts = [state.scope, what];
  if (state.metric !== metrics[0]) parts.push(state.metric);
  return "#" + parts.join("/");
}

function readHash() {
  const [scope, what, metric] = location.hash.slice(1).split("/");
  if (!scopes.includes(scope) || !what) return location.hash.length < 2;
  const cr = what.split("-");
  let other = null;
  if (what.startsWith("id-")) {
    other = Object.keys(others).map(Number).find(
      (row) => "id-" + points.ids[row] === what && scopes[points.scope[row]] === scope);
    if (other === undefined) return false;
  } else if (cr.length !== levels.length || !cr.every((r, i) => values[levels[i]].includes(r))) {
    return false;
  }
  Object.assign(state, { scope, other, metric: metrics.includes(metric) ? metric : metrics[0] });
  if (other === null) state.cr = cr;
  return true;
}

// ---- answers --------------------------------------------------------------------------------
function showState(row) {
  let text = state.other !== null ? others[row] : state.cr.join(" ");
  if (state.other === null && state.cr.join("-") === CLEAN) text += " (clean)";
  if (row === undefined) text += ": not evaluated";
  byId("state").textContent = text;
  document.body.dataset.evaluated = row !== undefined;
}

function showNumbers(row) {
  for (const metric of metrics) {
    const value = row === undefined ? null : points[metric][row];
    const before = clean && clean[metric];
    let change = "";
    if (row === undefined) change = "not evaluated";
    else if (value === null) change = "no such objects";
    else if (before === null) change = "no clean result";
    else if (points.cr[row] === CLEAN) change = "clean";
    else {
      change = signed(value - before);
      if (before > 0) change += " (" + signed(100 * (value - before) / before) + "\u00a0%)";
    }
    byId("value-" + metric).textContent = fixed(value);
    byId("change-" + metric).textContent = change;
  }
}

function showPayload(row) {
  const put = (id, value, note) => {
    byId(id).textContent = value;
    byId(id + "-note").textContent = note;
  };
  if (row === undefined) {
    put("sent", "–", "not evaluated");
    put("smaller", "–", "");
  } else if (state.scope === "rpn") {
    const kept = points.kept[row];
    put("sent", "nothing saved", "the box head reads clean maps, so all of them have to be sent");
    put("smaller", "–", kept === null ? ""
      : "the proposal network reads " + fixed(100 * kept) + " % of the elements");
  } else {
    const isClean = points.cr[row] === CLEAN;
    const bytes = points.bytes[row] === null && isClean ? data.all_bytes : points.bytes[row];
    const times = bytes && data.wire_bytes ? data.wire_bytes / bytes : null;
    const none = times !== null && times < 1; // the clean pyramid with its P6
    const bits = points.bits_per_pixel[row];
    const each = data.images && bytes !== null ? size(bytes / data.images) + " an image" : null;
    put("sent", bytes === null ? "–" : each || size(bytes), bytes === null ? "not told by the result"
      : bits === null ? size(bytes) + " in all" : fixed(bits, 2) + " bits a pixel");
    put("smaller", times === null ? "–" : none ? "none" : human(times) + " times",
      none ? data.wire + " in fp32, and more" : "smaller than " + data.wire + " in fp32");
  }
  byId("cost").textContent = row !== undefined && points.costs[row] ? costText(row) + "." : "";
}

// The settings that beat a row: the one with the least data, and the one with the best AP.
function findBetter(row) {
  const [bytes, ap] = [points.bytes[row], points.AP[row]];
  let less = null, more = null;
  for (let one = 0; one < count; one++) {
    const [its, score] = [points.bytes[one], points.AP[one]];
    if (its === null || score === null) continue;
    if (score >= ap && its < bytes) {
      if (less === null || its < points.bytes[less]
          || (its === points.bytes[less] && score > points.AP[less])) less = one;
    }
    if (score > ap && its <= bytes) {
      if (more === null || score > points.AP[more]
          || (score === points.AP[more] && its < points.bytes[more])) more = one;
    }
  }
  return { less, more };
}

function suggest() {
  const box = byId("suggestions"), row = currentRow();
  box.replaceChildren();
  const say = (text) => box.append(element("p", text));
  if (state.scope === "rpn") {
    say("Scope rpn saves no data, whatever the ratios: the box head reads the clean maps. Choose "
      + "scope pyramid to look for less data.");
  } else if (row === undefined || points.bytes[row] === null || points.AP[row] === null) {
    say("This setting was not evaluated, so there is nothing to compare with.");
  } else {
    const { less, more } = findBetter(row);
    if (less === null && more === null) {
      say("None: no setting evaluated here has this AP with less data, or a better one with as little.");
    }
    if (less !== null) offer("Least data for this AP: ", less, row);
    if (more !== null && more !== less) offer("Best AP for this data: ", more, row);
  }
}

function offer(lead, row, from) {
  const gain = signed(points.AP[row] - points.AP[from]);
  const saved = 100 * (1 - points.bytes[row] / points.bytes[from]);
  const data_ = saved <= 0 ? "the same data"
    : (saved < 1 ? "under 1" : Math.floor(saved)) + " % less data";
  const line = element("p", lead + nameOf(row) + ": "
    + (gain === fixed(0) ? "same AP" : "AP " + gain) + ", " + data_ + ".");
  const go = element("button", "Show", { type: "button" });
  go.addEventListener("click", () => select(row));
  line.append(go);
  byId("suggestions").append(line);
}

// ---- controls -------------------------------------------------------------------------------
const sliders = {};

function buildControls() {
  const what = { rpn: "the proposal network alone", pyramid: "the box head, too" };
  for (const scope of scopes) {
    const label = element("label"), radio = element("input", undefined,
      { type: "radio", name: "scope", value: scope });
    radio.addEventListener("change", () => change({ scope, other: null }));
    label.append(radio, " ", element("code", scope), ": " + what[scope]);
    byId("scopes").append(label);
  }
  levels.forEach((level, i) => {
    const row = element("div", undefined, { class: "level" });
    const slider = element("input", undefined, { type: "range", id: level, min: 0, step: 1,
      max: values[level].length - 1 });
    slider.disabled = values[level].length < 2;
    slider.addEventListener("input", () => {
      const cr = state.cr.slice();
      cr[i] = values[level][slider.value];
      change({ cr, other: null });
    });
    sliders[level] = slider;
    row.append(element("label", level.toUpperCase(), { for: level }), slider,
      element("output", "", { id: level + "-value", for: level }));
    byId("levels").append(row);
  });
  for (const metric of metrics) byId("metric").append(element("option", metric, { value: metric }));
  byId("metric").addEventListener("change", () => change({ metric: byId("metric").value }));
  byId("reset").addEventListener("click", () => change({ cr: levels.map(() => "1"), other: null }));
  byId("better").addEventListener("click", suggest);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
}

function buildMethods() {
  const list = byId("method"), search = byId("search");
  listMethods("");
  list.addEventListener("change", () => { if (list.value !== "") select(Number(list.value)); });
  search.addEventListener("input", () => { listMethods(search.value); showControls(); });
  byId("methods").hidden = list.children.length < 2;
}

// The methods whose names have all the words of a search, in the order of their scopes.
function listMethods(text) {
  const list = byId("method"), words = text.toLowerCase().split(/\s+/).filter((word) => word);
  const found = Object.keys(others).filter((row) => {
    const name = others[row].toLowerCase();
    return words.every((word) => name.includes(word));
  });
  list.replaceChildren(element("option",
    found.length === 0 ? "none has these words" : "choose of " + found.length.toLocaleString("en") + " …",
    { value: "" }));
  for (const scope of scopes) {
    const group = element("optgroup", undefined, { label: "scope " + scope });
    for (const row of found) {
      if (scopes[points.scope[row]] === scope) {
        group.append(element("option", others[row], { value: row }));
      }
    }
    if (group.children.length) list.append(group);
  }
}

function buildAnswers() {
  const names = { AP: "all", APs: "small", APm: "medium", APl: "large" };
  for (const metric of metrics) {
    const box = element("div"), name = element("dt", metric + " ");
    name.append(element("span", names[metric]));
    box.append(name,
      element("dd", "", { id: "value-" + metric, class: "value" }),
      element("dd", "", { id: "change-" + metric, class: "change" }));
    byId("numbers").append(box);
  }
  for (const [id, name] of [["sent", "Has to be sent"], ["smaller", "Saving"]]) {
    const box = element("div");
    box.append(element("dt", name), element("dd", "", { id, class: "value" }),
      element("dd", "", { id: id + "-note", class: "note" }));
    byId("payload").append(box);
  }
}

function showControls() {
  for (const radio of document.querySelectorAll("#scopes input")) {
    radio.checked = radio.value === state.scope;
  }
  levels.forEach((level, i) => {
    const ratio = state.cr[i], share = data.shares[level][ratio];
    let text = state.other !== null ? "not used" : ratio;
    if (state.other === null && share !== undefined) {
      text += share === 1 ? " (whole)" : " (" + Number((100 * share).toPrecision(2)) + " % left)";
    }
    sliders[level].value = values[level].indexOf(ratio);
    sliders[level].setAttribute("aria-valuetext", text);
    byId(level + "-value").textContent = text;
  });
  byId("levels").classList.toggle("unused", state.other !== null);
  byId("levels-note").hidden = state.other === null;
  byId("method").value = state.other === null ? "" : String(state.other);
  byId("metric").value = state.metric;
}

function change(some) {
  Object.assign(state, some);
  show();
  history.replaceState(null, "", toHash());
}

function select(row) {
  const cr = points.cr[row];
  change({ scope: scopes[points.scope[row]], other: cr ? null : row,
    cr: cr ? cr.split("-") : state.cr });
}

function show() {
  const row = currentRow();
  showControls();
  showState(row);
  showNumbers(row);
  showPayload(row);
  byId("suggestions").replaceChildren();
  byId("link").setAttribute("href", toHash());
  if (plots.slices) plots.slices.setData(sliceData());
  placeSpot(row);
}

// ---- plots ----------------------------------------------------------------------------------
const plots = {};
const LOOKS = [["#0072B2", []], ["#D55E00", [8, 3]], ["#009E73", [7, 3, 2, 3]], ["#B07A00", [2, 3]],
  ["#A8527F", [14, 4]], ["#56B4E9", [4, 4]], ["#000000", [10, 2, 2, 2]]];
const stops = [...new Set(levels.flatMap((level) => values[level]))].sort(
  (a, b) => (a === "max") - (b === "max") || a - b);
const grid = { stroke: "#e3e3e3", width: 1 };

// One level moved along its stops, the others as they are; null where nothing was evaluated.
function sliceData() {
  return [stops.map((_, i) => i), ...levels.map((_, i) => stops.map((ratio) => {
    const cr = state.cr.slice();
    cr[i] = ratio;
    const row = lookUp(state.scope, cr.join("-"));
    return row === undefined ? null : points[state.metric][row];
  }))];
}

function plotSlices(holder) {
  const all = metrics.flatMap((metric) => points[metric]).filter((value) => value !== null);
  const top = Math.min(100, Math.ceil((all.reduce((a, b) => Math.max(a, b), 1) + 1) / 10) * 10);
  plots.slices = new uPlot({
    width: holder.clientWidth, height: 300,
    scales: { x: { time: false, range: [-0.3, stops.length - 0.7] }, y: { range: [0, top] } },
    axes: [
      { grid, label: "linear ratio", splits: () => stops.map((_, i) => i),
        values: () => stops, labelSize: 20 },
      { grid, label: "AP in percent", labelSize: 20, size: 42 },
    ],
    cursor: { drag: { setScale: false } },
    series: [{ value: (_, i) => (i === null ? "–" : stops[i]), label: "ratio" },
      ...levels.map((level, i) => ({ label: level.toUpperCase(), stroke: LOOKS[i][0],
        dash: LOOKS[i][1], width: 2, points: { show: true, size: 7 },
        value: (_, value) => fixed(value) }))],
  }, sliceData(), holder);
}

// The column that the cloud has across, as its control says.
const across = () => points[byId("axis").value];

function plotCloud(holder) {
  const order = [], at = across();
  for (let row = 0; row < count; row++) {
    if (at[row] !== null && points.AP[row] !== null) order.push(row);
  }
  order.sort((a, b) => at[a] - at[b]);
  const bits = byId("axis").value === "bits_per_pixel";
  const front = new Set(data.front), pictures = new Set(data.pictures), column = (keep) => order.map(
    (row) => (keep(row) ? points.AP[row] : null));
  const dots = (colour, width) => ({ show: true, size: width, fill: colour, stroke: colour, width: 0 });
  plots.order = order;
  plots.cloud = new uPlot({
    width: holder.clientWidth, height: 300,
    scales: { x: { time: false, distr: 3, log: 10, range: (u, low, high) => [low / 1.1, high * 1.1] } },
    axes: [
      { grid, label: byId("axis").selectedOptions[0].textContent, labelSize: 20,
        splits: (u) => decades(u.scales.x.min, u.scales.x.max, u.over.clientWidth || u.width),
        values: (_, at) => at.map((one) => one.toLocaleString("en", { maximumFractionDigits: 6 })),
        filter: (_, at) => at },
      { grid, label: "AP in percent", labelSize: 20, size: 42 },
    ],
    legend: { live: false },
    cursor: { points: { show: false }, drag: { x: true, y: true, uni: 20 }, x: false, y: false },
    series: [{},
      { label: "ratios", paths: () => null, stroke: "#7db8dc", points: dots("#7db8dc", 3.5) },
      ...(Object.keys(others).length ? [{ label: "other methods", paths: () => null,
        stroke: "#D55E00", points: dots("#D55E00", 6) }] : []),
      ...(pictures.size ? [{ label: "the image, coded", paths: () => null,
        stroke: "#009E73", points: dots("#009E73", 6) }] : []),
      { label: "not beaten by any (Pareto front)", stroke: "#0072B2", width: 1.5, spanGaps: true,
        paths: uPlot.paths.stepped({ align: bits ? 1 : -1 }), points: dots("#0072B2", 5) }],
    hooks: { draw: [() => placeSpot(currentRow())] },
  }, [order.map((row) => at[row]), column((row) => points.cr[row] !== null),
    ...(Object.keys(others).length ? [column((row) => points.cr[row] === null && !pictures.has(row))] : []),
    ...(pictures.size ? [column((row) => pictures.has(row))] : []),
    column((row) => front.has(row))], holder);
  plots.spot = element("div", undefined, { class: "spot" });
  plots.cloud.over.append(plots.spot);
  plots.cloud.over.addEventListener("mousemove", (event) => hint(nearest(event)));
  plots.cloud.over.addEventListener("click", (event) => {
    const row = nearest(event);
    if (row !== null) select(row);
  });
}

// Both ways across, where there are points for them; the cloud is drawn anew when it changes.
function buildCloud() {
  const axis = byId("axis"), holder = document.querySelector("#cloud .plot");
  const drawable = (name) => points[name].filter((x, row) => x !== null && points.AP[row] !== null);
  for (const option of [...axis.options]) if (drawable(option.value).length < 2) option.remove();
  byId("cloud").hidden = axis.options.length === 0;
  axis.parentElement.hidden = axis.options.length < 2;
  if (axis.options.length === 0) return;
  plotCloud(holder);
  axis.addEventListener("change", () => {
    plots.cloud.destroy();
    plotCloud(holder);
    placeSpot(currentRow());
  });
}

function decades(low, high, width) {
  const found = [], each = width / Math.log10(high / low); // pixels of a decade
  const steps = each > 190 ? [1, 2, 5] : each > 100 ? [1, 3] : [1];
  for (let ten = 10 ** Math.floor(Math.log10(low)); ten <= high; ten *= 10) {
    for (const one of steps) {
      const at = Number((ten * one).toPrecision(3));
      if (at >= low && at <= high) found.push(at);
    }
  }
  return found;
}

// The row whose point lies nearest to the mouse, within 20 pixels.
function nearest(event) {
  const u = plots.cloud, box = u.over.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  let best = null, least = 400;
  for (const row of plots.order) {
    const far = (u.valToPos(across()[row], "x") - x) ** 2
      + (u.valToPos(points.AP[row], "y") - y) ** 2;
    if (far < least) { least = far; best = row; }
  }
  return best;
}

function hint(row) {
  byId("hint").textContent = row === null
    ? "Click a point to see it; drag to zoom, double-click to zoom out."
    : nameOf(row) + ": AP " + fixed(points.AP[row]) 
      + (points.smaller[row] === null ? "" : ", " + human(points.smaller[row]) + " times smaller")
      + (points.bits_per_pixel[row] === null ? "."
        : ", " + human(points.bits_per_pixel[row]) + " bits a pixel.")
      + (points.costs[row] ? " " + costText(row) + "." : "");
}

// What either side works, of a row that was measured: operations a pixel and time.
function costText(row) {
  const [sends, sendTime, receives, receiveTime] = points.costs[row];
  const side = (operations, time) => Math.round(operations).toLocaleString("en")
    + " multiply-accumulates a pixel, " + human(time) + "\u00a0ms";
  return "Sender " + side(sends, sendTime) + "; receiver " + side(receives, receiveTime);
}

function placeSpot(row) {
  if (!plots.spot) return;
  const u = plots.cloud, shown = row !== undefined && state.scope === "pyramid"
    && across()[row] !== null && points.AP[row] !== null;
  const [x, y] = shown ? [u.valToPos(across()[row], "x"), u.valToPos(points.AP[row], "y")] : [];
  plots.spot.hidden = !(shown && x >= 0 && y >= 0 && x <= u.over.clientWidth && y <= u.over.clientHeight);
  plots.spot.style.left = x + "px";
  plots.spot.style.top = y + "px";
}

function watchSize() {
  const holders = { slices: "#slices .plot", cloud: "#cloud .plot" };
  for (const name in holders) {
    const holder = document.querySelector(holders[name]);
    new ResizeObserver(() => {
      if (plots[name] && holder.clientWidth && plots[name].width !== holder.clientWidth) {
        plots[name].setSize({ width: holder.clientWidth, height: 300 });
      }
    }).observe(holder);
  }
}

// ---- classes --------------------------------------------------------------------------------
function showClasses() {
  const { head, rows: lines, note } = data.classes;
  if (!lines.length) return;
  const table = byId("classes-table"), top = element("tr");
  for (const name of head) top.append(element("th", name, { scope: "col" }));
  table.append(top);
  for (const [name, ...numbers] of lines) {
    const line = element("tr");
    line.append(element("td", name));
    for (const number of numbers) line.append(element("td", fixed(number)));
    table.append(line);
  }
  byId("classes-note").textContent = note;
  byId("classes").hidden = false;
}

buildControls();
buildMethods();
buildAnswers();
showClasses();
const known = readHash();
byId("cloud").hidden = false; // it needs its width to be drawn
buildCloud();
plotSlices(document.querySelector("#slices .plot"));
watchSize();
show();
if (!known) byId("state").textContent += " – the link names a setting that this page doesn't have";
window.addEventListener("hashchange", () => {
  if (readHash()) show();
  else byId("state").textContent = "the link names a setting that this page doesn't have";
});
})();
