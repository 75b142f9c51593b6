/* one case: what is typed, what the network says of it, and why */
(() => {
  "use strict";
  const net = relucidate.network;
  const data = relucidate.data.case;
  if (!net || !data) return;
  const { $, make, draw, grouped, fixed, percent, number, unpack, state, on, select } = relucidate;
  const core = relucidate.data.core;
  const K = core.outputs.length;
  const C = data.cases.length;
  const rows = unpack(data.rows).values;
  const prepared = (i) => rows.slice(i * net.d, (i + 1) * net.d);
  const mean = unpack(data.mean).values;
  const sd = unpack(data.sd).values;
  const softmax = net.link === "softmax";
  const decides = softmax || net.link === "logit";
  const unit = softmax ? "logit, less the mean of the classes" : core.quantity;
  /* only differences of logits of several classes say anything: less their mean, as in the other chapters */
  const identified = (values) => {
    if (!softmax) return [...values];
    const middle = values.reduce((s, v) => s + v, 0) / values.length;
    return [...values].map((v) => v - middle);
  };
  const mix = (k) => Float64Array.from({ length: net.K }, (_, c) => (c === k ? 1 : 0) - (softmax ? 1 / net.K : 0));
  const along = (coef, k) => {
    const m = mix(k);
    const out = new Float64Array(net.d);
    coef.forEach((w, c) => { if (m[c]) for (let j = 0; j < net.d; j++) out[j] += m[c] * w[j]; });
    return out;
  };
  /* a number without zeros at its end */
  const brief = (value) => {
    const text = number(value);
    return /^[^×]*\.\d*$/.test(text) ? text.replace(/\.?0+$/, "") : text;
  };
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const outputName = (k) => data.outputs[k] ?? `output ${k}`;
  const measured = (k) => (net.K > 1 ? `${outputName(k)}: ${unit}` : unit[0].toUpperCase() + unit.slice(1));
  const at = (g, x) => data.columns[g].at.map((j) => x[j]);
  const sumOver = (g, values) => data.columns[g].at.reduce((s, j) => s + values[j], 0);
  const columns = data.columns.map((_, g) => g);

  /* regions */
  const { values: patterns, shape: [nPatterns, width] } = unpack(data.patterns);
  const regionOf = unpack(data.regionOf).values;
  const counts = unpack(data.count).values;
  const byPattern = new Map();
  const key = (bytes) => String.fromCharCode(...bytes);
  for (let p = 0; p < nPatterns; p++) byPattern.set(key(patterns.subarray(p * width, (p + 1) * width)), p);
  const regionAt = (packed) => {
    const p = byPattern.get(key(packed));
    return p === undefined ? -1 : regionOf[p];
  };
  const ones = Uint8Array.from({ length: 256 }, (_, i) => i.toString(2).replaceAll("0", "").length);
  const nearestRegion = (packed) => {
    let best = { bits: Infinity, region: -1 };
    for (let p = 0; p < nPatterns; p++) {
      let bits = 0;
      for (let i = 0; i < width && bits < best.bits; i++) bits += ones[packed[i] ^ patterns[p * width + i]];
      if (bits < best.bits) best = { bits, region: regionOf[p] };
    }
    return best;
  };
  const rowsIn = (r) => `${grouped(counts[r], 0)} ${counts[r] === 1 ? "row" : "rows"} of the table`;
  const none = data.least > 1 ? `fewer than ${data.least} rows of the table have` : "no row of the table has";
  const link = (r) => {
    const button = make("button", `region ${grouped(r, 0)}`, "link");
    button.type = "button";
    button.addEventListener("click", () => select("region", r, { again: true }));
    return button;
  };

  /* the case: encoded, one number per feature */
  const now = { picked: 0, base: 0, x: prepared(0), ticket: 0 };
  const isMissing = (g, x) => data.columns[g].absent?.some((p) => x[data.columns[g].at[p]] !== 0) ?? false;
  const put = (g, places) => {
    const { at } = data.columns[g];
    for (const j of at) now.x[j] = 0;
    for (const [p, value] of places) now.x[at[p]] = value;
  };
  const places = (column, value) => [
    ...column.value.map((p) => [p, value]),
    ...column.levels.map(([p, levels, other]) => [p, levels.includes(value) !== other ? 1 : 0]),
  ];
  const optionOf = (g, x) => {
    const here = at(g, x);
    return data.columns[g].options.findIndex(([, places]) => {
      const full = here.map(() => 0);
      for (const [p, v] of places) full[p] = v;
      return full.every((v, p) => v === here[p]);
    });
  };
  const inWords = (g, x) => {
    const column = data.columns[g];
    if (column.kind === "level") {
      const i = optionOf(g, x);
      return i < 0 ? "a mixture" : column.options[i][0];
    }
    const indicators = column.absent.map((p) => x[column.at[p]]);
    if (indicators.some((v) => v !== 0 && v !== 1)) return "a mixture";
    return indicators.includes(1) ? "missing" : brief(x[column.at[column.value[0]]]);
  };
  const isOutside = (g, x) => {
    const column = data.columns[g];
    if (column.kind === "level" || column.low === null || isMissing(g, x)) return false;
    const value = x[column.at[column.value[0]]];
    return value < column.low || value > column.high;
  };
  /* features that stay as they are when distances are measured: indicators, and numbers that stand for a missing value */
  const scaleAt = (x) => {
    const scale = Float64Array.from(sd, (s, j) => (data.moves[j] ? s : 0));
    for (const g of columns) if (isMissing(g, x)) for (const p of data.columns[g].value) scale[data.columns[g].at[p]] = 0;
    return scale;
  };

  /* inputs */
  const named = (g, tag = "bdi") => {
    const element = make(tag, core.columns[g][0]);
    if (core.columns[g][1]) element.title = core.columns[g][1];
    return element;
  };
  const shownValue = (value) => String(Number(value.toPrecision(9)));
  const fields = [];
  const field = (g) => {
    const column = data.columns[g];
    const box = make("div", undefined, "input");
    box.dataset.feature = g;
    const label = make("label");
    label.append(named(g));
    label.htmlFor = `case-input-${g}`;
    const hint = make("span", undefined, "hint");
    let control;
    let refresh;
    if (column.kind === "level") {
      control = make("select");
      const mixture = make("option", "a mixture");
      mixture.value = "-1";
      mixture.disabled = true;
      control.append(...column.options.map(([text], i) => Object.assign(make("option", text), { value: String(i) })));
      control.addEventListener("change", () => {
        put(g, column.options[Number(control.value)][1]);
        changed();
      });
      refresh = () => {
        const i = optionOf(g, now.x);
        if (i < 0) control.append(mixture);
        else mixture.remove();
        control.value = String(i);
      };
    } else {
      control = make("input");
      control.type = "number";
      control.step = "any";
      const out = make("span", "outside the range", "out");
      hint.append(column.low === null ? "no range" : `${brief(column.low)} to ${brief(column.high)}`, out);
      let missing = null;
      if (column.missing) {
        const holder = make("label", " missing");
        missing = make("input");
        missing.type = "checkbox";
        missing.setAttribute("aria-label", `${core.columns[g][0]} is missing`);
        holder.prepend(missing);
        hint.append(holder);
        missing.addEventListener("change", () => {
          if (missing.checked) put(g, column.missing);
          else put(g, places(column, now.x[column.at[column.value[0]]]));
          refresh();
          changed();
        });
      }
      control.addEventListener("input", () => {
        const value = control.value.trim() === "" ? NaN : Number(control.value);
        control.setAttribute("aria-invalid", String(!Number.isFinite(value)));
        if (!Number.isFinite(value)) return;
        if (missing) missing.checked = false;
        put(g, places(column, value));
        changed();
        mark();
      });
      const mark = () => (out.hidden = !isOutside(g, now.x));
      refresh = () => {
        control.value = shownValue(now.x[column.at[column.value[0]]]);
        control.setAttribute("aria-invalid", "false");
        if (missing) {
          missing.checked = isMissing(g, now.x) && column.absent.every((p) => now.x[column.at[p]] === 1);
          missing.indeterminate = isMissing(g, now.x) && !missing.checked;
        }
        mark();
      };
    }
    control.id = label.htmlFor;
    control.autocomplete = "off";
    box.append(label, control, hint);
    fields.push(refresh);
    refresh();
    return box;
  };
  const fill = (holder, list) => {
    holder.append(...list.map(field));
    relucidate.mark("feature", holder);
  };
  fill($("case-inputs"), data.order.slice(0, data.first));
  $("case-more")?.addEventListener("toggle", () => fill($("case-inputs-more"), data.order.slice(data.first)), { once: true });

  /* rows of tables: cells as [text, value in full, class] */
  const line = (head, cells, g) => {
    const tr = make("tr");
    const th = make("th");
    th.scope = "row";
    th.append(head);
    tr.append(th, ...cells.map(([text, value]) => {
      const td = make("td", text, value === undefined ? "" : "n");
      if (typeof value === "number") td.dataset.value = value;
      return td;
    }));
    if (g !== undefined) tr.dataset.feature = g;
    return tr;
  };
  const decidedAs = (k, side) => {
    if (softmax) return outputName(side);
    if (data.classes.length === 2) return data.classes[side];
    return side ? "above 0" : "not above 0";
  };
  const probability = (p) => (p > 0.0001 && p < 0.9999 ? percent(p, 2) : number(p));

  const tellDecision = (found) => {
    const { decision } = found;
    const prediction = net.predicted(decision);
    const middle = identified(decision);
    const top = softmax ? net.largest(decision) : -1;
    const heads = ["output", core.quantity];
    if (softmax) heads.push("less the mean");
    if (net.link !== "identity") heads.push(decides ? "probability" : "prediction");
    $("case-outputs").tHead.rows[0].replaceChildren(...heads.map((h, i) => Object.assign(make("th", h, i ? "n" : ""), { scope: "col" })));
    const shown = [...Array(K).keys()];
    if (top >= K) shown.push(top);
    $("case-outputs").tBodies[0].replaceChildren(...shown.map((k) => {
      const cells = [[number(decision[k]), decision[k]]];
      if (softmax) cells.push([number(middle[k]), middle[k]]);
      if (net.link !== "identity") cells.push([decides ? probability(prediction[k]) : number(prediction[k]), prediction[k]]);
      const tr = line(make("bdi", outputName(k)), cells);
      tr.classList.toggle("top", k === top);
      return tr;
    }));
    const k = state.output;
    const text = [];
    if (softmax) text.push(`Predicted: ${outputName(top)}, with a probability of ${probability(prediction[top])}.`);
    else if (data.classes.length === 2) text.push(`Predicted: ${decidedAs(k, net.side(decision, k))}; the probability of ${data.classes[1]} is ${probability(prediction[k])}.`);
    else text.push(`${net.K > 1 ? outputName(k) + ": " : ""}${decides ? probability(prediction[k]) : number(prediction[k])}.`);
    const region = regionAt(found.packed);
    text.push(region < 0 ? `${none[0].toUpperCase()}${none.slice(1)} its pattern.` : `Region ${grouped(region, 0)}.`);
    $("case-summary").textContent = text.join(" ");
  };
  const tellRegion = (found) => {
    const region = regionAt(found.packed);
    const parts = [];
    if (region >= 0) parts.push("It lies in ", link(region), `, ${rowsIn(region)}. ${relucidate.trusted?.(region) ?? ""}`);
    else {
      parts.push(data.least > 1
        ? `It has a pattern that fewer than ${data.least} rows of the table use: the network extrapolates here, or nearly so.`
        : "It has a pattern that none of the rows uses: the network extrapolates here.");
      const near = nearestRegion(found.packed);
      if (near.region >= 0) {
        parts.push(" The nearest pattern in this page is that of ", link(near.region),
          `, ${rowsIn(near.region)}: it differs in ${near.bits} of ${grouped(net.nBits, 0)} switches.`);
      }
    }
    if (net.inDoubt(found)) parts.push(" A neuron is so near to its breakpoint here that float64 cannot tell the side: the region may be the one beyond.");
    $("case-region").replaceChildren(...parts);
    const out = columns.filter((g) => isOutside(g, found.x));
    $("case-outside").hidden = !out.length;
    $("case-outside").replaceChildren(`Outside the range of the table: `, ...out.slice(0, 12).flatMap((g, i) => [i ? ", " : "", named(g)]),
      out.length > 12 ? ` and ${out.length - 12} more.` : ".");
  };

  /* pictures */
  const put_picture = (id, picture, caption) => {
    const figure = $(id);
    figure.querySelector("svg.picture")?.remove();
    figure.prepend(picture);
    figure.querySelector("figcaption").textContent = caption;
  };
  const canvas = (height, spoken, style = "") =>
    draw("svg", { class: "picture " + style, viewBox: `0 0 400 ${height}`, role: "img", "aria-label": spoken });
  const words = (x, y, text, style = "") => {
    const element = draw("text", { x, y, class: style });
    element.textContent = text;
    return element;
  };
  const waterfall = (base, here, bars, rest, end) => {
    const steps = [{ text: "the model of this region, at the mean row", value: here - base }, ...bars];
    if (rest) steps.push(rest);
    const levels = [base];
    for (const step of steps) levels.push(levels[levels.length - 1] + step.value);
    const [low, high] = [Math.min(...levels, end), Math.max(...levels, end)];
    const x = (value) => (10 + ((value - low) / (high - low || 1)) * 380).toFixed(1);
    const STEP = 34;
    const height = STEP * (steps.length + 2);
    const spoken = steps.map((s) => `${s.text}${s.is ?? ""} ${signed(s.value)}`).join(", ");
    const svg = canvas(height, `From ${number(base)} at the mean row to ${number(end)}: ${spoken}.`, "waterfall");
    const row = (top, step, text, style) => {
      const label = draw("text", { x: 6, y: top + 14, class: style + "halo isolate" });
      const [name, value] = [draw("tspan", { class: "isolate" }), draw("tspan", { class: "quiet" })];
      name.textContent = step.text;
      value.textContent = step.is ?? "";
      label.append(name, value);
      if (step.full) {
        const title = draw("title", {});
        title.textContent = step.full;
        label.append(title);
      }
      if (step.g !== undefined) label.dataset.feature = step.g;
      svg.append(label, words(394, top + 14, text, style + "halo end"));
    };
    levels.forEach((level, i) => svg.append(draw("line", { class: "grid", x1: x(level), x2: x(level), y1: STEP * i + 24, y2: STEP * (i + 1) + 24 })));
    row(0, { text: "the network at the mean row" }, number(base), "");
    svg.append(draw("circle", { class: "dot", cx: x(base), cy: 24, r: 4 }));
    steps.forEach((step, i) => {
      const top = STEP * (i + 1);
      row(top, step, signed(step.value), "");
      const [a, b] = [x(levels[i]), x(levels[i + 1])].map(Number).sort((p, q) => p - q);
      const bar = draw("rect", { class: step.value < 0 ? "neg" : "pos", x: a, y: top + 19, width: Math.max(b - a, 0.8).toFixed(1), height: 9 });
      bar.dataset.value = step.value;
      if (step.g !== undefined) bar.dataset.feature = step.g;
      svg.append(bar);
    });
    row(height - STEP, { text: `this case: ${core.quantity}` }, number(end), "strong ");
    svg.append(draw("circle", { class: "dot", cx: x(end), cy: height - 10, r: 4 }));
    return svg;
  };
  const sortedBySize = (values) => columns.slice().sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]) || a - b);
  const kept = (order) => (order.length > data.bars + 1 ? order.slice(0, data.bars) : order);
  const tellSum = (found, model) => {
    const k = state.output;
    const w = along(model.coef, k);
    const base = identified(net.trace(mean).decision)[k];
    const here = identified(model.intercept)[k] + w.reduce((s, v, j) => s + v * mean[j], 0);
    const each = w.map((v, j) => v * (found.x[j] - mean[j]));
    const parts = columns.map((g) => sumOver(g, each));
    const order = sortedBySize(parts);
    const top = kept(order);
    const bars = top.map((g) => ({ g, text: core.columns[g][0], full: core.columns[g][1], is: ` = ${inWords(g, found.x)}`, value: parts[g] }));
    const others = order.slice(top.length);
    const rest = others.length ? { text: `the ${others.length} other columns`, value: others.reduce((s, g) => s + parts[g], 0) } : null;
    const svg = waterfall(base, here, bars, rest, identified(found.decision)[k]);
    put_picture("case-waterfall", svg, `${measured(k)}. Each bar is the coefficient of the region’s model times the difference to the mean of the table.`);
  };

  /* the way from the baseline */
  const ticks = (low, high, most) => {
    const raw = (high - low) / most || 1;
    const size = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((s) => s >= raw);
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(i * step);
    return out;
  };
  const curve = (pieces, values, from) => {
    const t = [...pieces.map((p) => p.start), 1];
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const marks = ticks(low, high, 4);
    const labels = marks.map((v) => brief(Number(v.toPrecision(6))));
    const left = 16 + 6.9 * Math.max(...labels.map((l) => l.length));
    const [x, y] = [(v) => left + v * (386 - left), (v) => 196 - ((v - low) / (high - low)) * 182];
    const svg = canvas(246, `From ${number(values[0])} to ${number(values[values.length - 1])} over ${pieces.length} pieces.`);
    marks.forEach((v, i) => svg.append(
      draw("line", { class: "grid", x1: left, x2: 386, y1: y(v).toFixed(1), y2: y(v).toFixed(1) }), words(left - 7, (y(v) + 4).toFixed(1), labels[i], "tick end")));
    for (const v of [0, 0.25, 0.5, 0.75, 1]) svg.append(words(x(v).toFixed(1), 214, v === 0 ? "from" : v === 1 ? "case" : `${100 * v} %`, "tick " + (v === 0 ? "" : v === 1 ? "end" : "middle")));
    svg.append(words((left + 386) / 2, 234, "share of the way", "tick middle"));
    if (decides && !softmax && low < 0 && high > 0) svg.append(draw("line", { class: "level", x1: left, x2: 386, y1: y(0).toFixed(1), y2: y(0).toFixed(1) }));
    const points = t.map((v, i) => `${x(v).toFixed(1)},${y(values[i]).toFixed(1)}`).join(" ");
    svg.append(draw("polyline", { class: "line", points }));
    if (t.length <= 60) t.slice(1, -1).forEach((v, i) => svg.append(draw("circle", { class: "mark", cx: x(v).toFixed(1), cy: y(values[i + 1]).toFixed(1), r: 2.6 })));
    svg.append(draw("circle", { class: "dot", cx: x(0), cy: y(values[0]).toFixed(1), r: 4 }), draw("circle", { class: "now", cx: x(1), cy: y(values[values.length - 1]).toFixed(1), r: 5 }));
    return svg;
  };
  const tellPath = (found) => {
    const k = state.output;
    const from = prepared(now.base);
    const pieces = net.path(from, found.x);
    const at = [...pieces.map((p) => p.start), 1];
    const values = at.map((t) => identified(net.trace(net.between(from, found.x, t)).decision)[k]);
    const attributed = net.integrated(from, found.x, pieces, mix(k));
    const parts = columns.map((g) => sumOver(g, attributed));
    const known = new Set(pieces.map((p) => regionAt(p.packed)).filter((r) => r >= 0));
    const n = pieces.length;
    const [first, last] = [values[0], values[values.length - 1]];
    $("path-summary").textContent = from.every((v, j) => v === found.x[j])
      ? "The case is the baseline: there is no way between them. Pick another one of both."
      : n === 1
        ? "The way lies in one region: the network is one linear model from the baseline to the case."
        : `The way crosses ${grouped(n, 0)} pieces with ${grouped(n - 1, 0)} ${n === 2 ? "breakpoint" : "breakpoints"} between them. Of the table’s regions${data.least > 1 ? ` with ${data.least} rows or more` : ""}, ${known.size ? grouped(known.size, 0) : "none"} ${known.size > 1 ? "are" : "is"} among them.`;
    put_picture("path-figure", curve(pieces, values, from), `${measured(k)}, along the straight way to the case; a dot at every breakpoint${at.length > 60 ? " is left out, there are too many" : ""}.`);
    const order = sortedBySize(parts);
    const top = kept(order);
    const lines = top.map((g) => line(named(g), [[inWords(g, from), null], [inWords(g, found.x), null], [signed(parts[g]), parts[g]]], g));
    const others = order.slice(top.length);
    const rest = others.reduce((s, g) => s + parts[g], 0);
    if (others.length) lines.push(line(`the ${others.length} other columns`, [["", null], ["", null], [signed(rest), rest]]));
    $("path-table").tBodies[0].replaceChildren(...lines);
    const sum = parts.reduce((s, v) => s + v, 0);
    $("path-table").tFoot.replaceChildren(
      line("sum", [["", null], ["", null], [signed(sum), sum]]),
      line("difference of the decisions", [[number(first), first], [number(last), last], [signed(last - first), last - first]]));
    const details = $("path-pieces");
    details.hidden = n === 1;
    details.querySelector("summary").textContent = `The ${n > 300 ? "first " : ""}${grouped(Math.min(n, 300), 0)} pieces`;
    details.querySelector("tbody").replaceChildren(...pieces.slice(0, 300).map((p, i) => {
      const region = regionAt(p.packed);
      const tr = make("tr");
      const cell = (text, value) => {
        const td = make("td", text, value === undefined ? "" : "n");
        if (value !== undefined) td.dataset.value = value;
        return td;
      };
      tr.append(cell(percent(p.start, 2), p.start), cell(percent(p.stop, 2), p.stop), cell(number(values[i]), values[i]), cell(region < 0 ? (data.least > 1 ? `fewer than ${data.least} rows` : "no row") : ""));
      if (region >= 0) {
        tr.dataset.region = region;
        const choose = relucidate.button(String(region), `${region}: select region ${region} in all chapters`, () => select("region", region));
        choose.className = "choose";
        tr.lastChild.append(choose);
      }
      return tr;
    }));
    relucidate.mark("region", details);
    relucidate.operable($("path-table"));
    relucidate.mark("feature", $("path-table"));
  };

  /* what changes it */
  const tellFacet = (model) => {
    const { nearest } = model;
    $("case-facet").textContent = nearest
      ? `The region ends ${number(nearest.distance)} standard deviations away at the nearest, where neuron ${nearest.neuron} of ${net.layers[nearest.layer].name} switches. ` +
        "Indicators of categories and missing values are held as they are."
      : "Nothing ends its region: no neuron switches as the numeric features that vary do.";
  };
  /* the smallest change of one column at which the decision changes, or null */
  const single = (g, x, k) => {
    const column = data.columns[g];
    const before = net.side(net.trace(x).decision, k);
    const tried = (places) => {
      const there = x.slice();
      for (const j of column.at) there[j] = 0;
      for (const [p, v] of places) there[column.at[p]] = v;
      return there;
    };
    if (column.kind === "level") {
      const here = optionOf(g, x);
      const found = column.options
        .map(([text, places], i) => ({ text, i, side: net.side(net.trace(tried(places)).decision, k) }))
        .filter((o) => o.i !== here && o.side !== before);
      return found.length ? { g, size: Infinity, levels: found } : null;
    }
    if (column.low === null || isMissing(g, x) || column.levels.length || column.value.length > 1) return null;
    const j = column.at[column.value[0]];
    let best = null;
    for (const end of [column.low, column.high]) {
      if (column.pair) {
        if (end === x[j]) continue;
        const side = net.side(net.trace(tried(places(column, end))).decision, k);
        const size = Math.abs(end - x[j]) / (sd[j] || 1);
        if (side !== before && (!best || size < best.size)) best = { g, value: end, size, side, whole: true };
        continue;
      }
      if (end === column.low ? end >= x[j] : end <= x[j]) continue;
      const there = x.slice();
      there[j] = end;
      const met = net.change(x, there, k);
      if (!met) continue;
      const value = x[j] + met.t * (end - x[j]);
      const size = Math.abs(value - x[j]) / (sd[j] || 1);
      if (!best || size < best.size) best = { g, value, size, side: met.side };
    }
    return best;
  };
  const apart = (value, here) => {
    let text = brief(value);
    for (let digits = 5; text === brief(here) && digits < 16 && value !== here; digits++) {
      const [a, b] = [value.toPrecision(digits), here.toPrecision(digits)];
      if (a !== b) text = a.replace("-", "\u2212");
    }
    return text;
  };
  const changeLine = (found, x, k) => {
    const { g } = found;
    if (found.levels) {
      const said = found.levels.slice(0, 6).map((o) => o.text).join(", ") + (found.levels.length > 6 ? ` and ${found.levels.length - 6} more` : "");
      const then = [...new Set(found.levels.map((o) => decidedAs(k, o.side)))].slice(0, 4).join(", ");
      return line(named(g), [[inWords(g, x), null], [said, null], ["", null], [then]], g);
    }
    const here = x[data.columns[g].at[data.columns[g].value[0]]];
    return line(named(g), [[brief(here), here], [apart(found.value, here), found.value], [number(found.size), found.size], [decidedAs(k, found.side)]], g);
  };
  const WORK = 4e8; /* products: more would take more than a few seconds */
  const tellChanges = (x, ticket) => {
    if (!decides) return;
    const k = state.output;
    const most = Math.max(12, Math.floor(WORK / (40 * net.weights)));
    const queue = data.order.slice(0, most);
    const found = [];
    const body = $("changes-table").tBodies[0];
    const finish = () => {
      found.sort((a, b) => a.size - b.size || a.g - b.g);
      body.replaceChildren(...found.map((f) => changeLine(f, x, k)));
      relucidate.operable(body);
      relucidate.mark("feature", body);
      const tried = Math.min(most, columns.length);
      const over = tried < columns.length ? ` of the ${tried} most important ones` : "";
      $("changes-table").hidden = !found.length;
      $("changes-status").textContent = found.length
        ? `${found.length} of ${grouped(columns.length, 0)} columns${over} can change the decision alone.`
        : `No column${over} can change the decision alone.`;
    };
    const some = () => {
      if (ticket !== now.ticket) return;
      const stop = performance.now() + 20;
      while (queue.length && performance.now() < stop) {
        const g = queue.shift();
        const one = single(g, x, k);
        if (one) found.push(one);
      }
      if (queue.length) setTimeout(some, 0);
      else finish();
    };
    some();
  };

  const changed = () => {
    const ticket = ++now.ticket;
    const x = now.x.slice();
    const found = net.trace(x);
    if (!found.decision.every(Number.isFinite)) {
      $("case-summary").textContent = "These values leave the range of float64 inside the network.";
      return;
    }
    tellDecision(found);
    tellRegion(found);
    const model = net.compose(found, scaleAt(x));
    tellSum(found, model);
    tellFacet(model);
    relucidate.mark("feature", $("case-waterfall"));
    const later = () => {
      if (ticket !== now.ticket) return;
      tellPath(found);
      tellChanges(x, ticket);
    };
    if (ticket === 1) later();
    else setTimeout(later, 60);
  };
  const pick = (i) => {
    now.picked = i;
    now.x = prepared(i);
    for (const refresh of fields) refresh();
    changed();
  };
  $("case-pick").addEventListener("change", () => select("case", Number($("case-pick").value)));
  on("case", (i) => {
    $("case-pick").value = String(i);
    pick(i);
  });
  $("case-reset").addEventListener("click", () => pick(now.picked));
  $("case-base").append(...data.cases.map(([text], i) => Object.assign(make("option", text), { value: String(i) })));
  $("case-base").addEventListener("change", () => {
    now.base = Number($("case-base").value);
    changed();
  });
  on("output", changed);

  relucidate.cases = {
    show: (x) => {
      now.x = Float64Array.from(x);
      for (const refresh of fields) refresh();
      changed();
    },
    regionAt,
    single: (g, x, k) => single(g, Float64Array.from(x), k),
    nearestRegion,
  };
  for (const id of ["case-panel", "path-panel", "changes-panel"]) $(id).hidden = false;
  $("case").classList.add("live");
  /* the mean row differs from itself in nothing: begin with a case that has something to show */
  now.picked = data.cases.length > 1 ? 1 : 0;
  now.x = prepared(now.picked);
  $("case-pick").value = String(now.picked);
  for (const refresh of fields) refresh();
  changed();
})();
