(() => {
  "use strict";
  const page = JSON.parse(document.getElementById("data").textContent);
  const data = page.regions;
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const STEP = 100;
  const state = { output: 0, column: -1, descending: false, shown: STEP, chosen: 0, order: [] };

  const make = (tag, text, style) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (style) element.className = style;
    return element;
  };
  const draw = (tag, attributes) => {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  /* numbers as text, as the page's own HTML has them */
  const minus = (text) => text.replace(/-/g, "\u2212");
  const power = (value, digits = 2) => {
    if (value === 0) return "0";
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const raised = [...exponent.replace("+", "")].map((c) => (c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c]));
    return minus(mantissa) + "\u00d710" + raised.join("");
  };
  const grouped = (value, decimals) =>
    value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  const fixed = (value, decimals) => {
    if (value === null) return "\u2013";
    if (decimals < 0) return power(value);
    const text = grouped(value, decimals);
    return /[1-9]/.test(text) ? minus(text) : text.replace("-", "");
  };
  const percent = (value, decimals = 2) => {
    if (value === null) return "\u2013";
    const least = 10 ** -decimals;
    const p = 100 * value;
    if (p > 0 && p < least) return "<" + least.toFixed(decimals) + " %";
    if (p < 100 && p > 100 - least) return ">" + (100 - least).toFixed(decimals) + " %";
    return p.toFixed(p === 0 || p === 100 ? 0 : decimals) + " %";
  };
  const number = (value) => {
    if (value === null) return "\u2013";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return power(value, 4);
    return minus(grouped(value, Math.max(0, 3 - Math.floor(Math.log10(size)))));
  };
  const text = (column, value) =>
    column.kind === "share" ? percent(value) : fixed(value, column.kind === "count" ? 0 : column.decimals);

  const of = (parts) => parts[Math.min(state.output, parts.length - 1)];
  const values = (column) => (column.feature === undefined ? of(column.values) : of(data.coef)[column.feature]);
  const count = data.patterns.length;

  const heat = (value, feature) => {
    const scale = data.scale[state.output];
    const sd = data.sd[feature];
    if (value === null || sd === null || scale === 0) return "h0";
    const level = Math.floor(Math.min(Math.abs(value * sd) / scale, 1) * page.levels + 0.5);
    return "h" + (value < 0 ? -level : level);
  };

  /* the table */
  const body = $("regions-table").tBodies[0];
  const largest = Math.max(0.01, ...data.columns.filter((c) => c.kind === "share").flatMap((c) => c.values[0]));

  const bar = (share) => {
    const picture = draw("svg", { viewBox: "0 0 44 9", "aria-hidden": "true" });
    picture.append(draw("rect", { class: "track", width: 44, height: 9 }));
    picture.append(draw("rect", { width: Math.max(0.5, (44 * share) / largest).toFixed(1), height: 9 }));
    return picture;
  };
  const row = (r) => {
    const line = make("tr");
    line.dataset.region = r;
    const head = make("th", undefined, "id");
    head.scope = "row";
    const button = make("button", String(r));
    button.type = "button";
    button.setAttribute("aria-label", "Region " + r + ", show its model");
    head.append(button);
    line.append(head);
    for (const column of data.columns) {
      const value = values(column)[r];
      const cell = make("td", text(column, value), "n");
      if (column.kind === "coef") cell.classList.add(heat(value, column.feature));
      if (column.kind === "share") {
        cell.classList.add("share");
        cell.append(bar(value));
      }
      line.append(cell);
    }
    return line;
  };
  const arrange = () => {
    const wanted = $("find").value.trim().toLowerCase();
    const least = Number($("least").value) || 1;
    const rows = data.columns[0].values[0];
    const found = [];
    for (let r = 0; r < count; r++) {
      if (rows[r] >= least && (!wanted || String(r) === wanted || data.patterns[r].startsWith(wanted))) found.push(r);
    }
    if (state.column >= 0) {
      const key = values(data.columns[state.column]);
      const sign = state.descending ? -1 : 1;
      found.sort((a, b) => {
        if (key[a] === null || key[b] === null) return (key[a] === null) - (key[b] === null) || a - b;
        return sign * (key[a] - key[b]) || a - b;
      });
    } else if (state.descending) found.reverse();
    state.order = found;
  };
  const fill = () => {
    const lines = state.order.slice(0, state.shown).map(row);
    body.replaceChildren(...lines);
    mark();
    const left = state.order.length - lines.length;
    $("status").textContent =
      state.order.length === count
        ? `${grouped(count, 0)} ${count === 1 ? "region" : "regions"}`
        : `${grouped(state.order.length, 0)} of ${grouped(count, 0)} regions match`;
    $("more").hidden = left <= 0;
    $("more").textContent = `Show ${Math.min(left, STEP)} more, of ${grouped(left, 0)}`;
  };
  const refresh = () => {
    arrange();
    fill();
  };
  const mark = () => {
    for (const line of body.rows) line.classList.toggle("chosen", Number(line.dataset.region) === state.chosen);
  };
  const heads = [...document.querySelectorAll("#regions-table .head-text")];
  const sort = (column) => {
    state.descending = state.column === column ? !state.descending : column >= 0;
    state.column = column;
    for (const span of heads) {
      const head = span.closest("th");
      if (Number(span.dataset.column) === column) {
        head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      } else head.removeAttribute("aria-sort");
    }
    state.shown = STEP;
    refresh();
  };

  /* the details of one region */
  const fact = (term, value) => {
    const pair = make("div");
    pair.append(make("dt", term), make("dd", value));
    return pair;
  };
  const effect = (value, longest) => {
    const picture = draw("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" });
    const width = longest ? (49 * Math.abs(value)) / longest : 0;
    picture.append(
      draw("rect", { class: value < 0 ? "neg" : "pos", x: (value < 0 ? 50 - width : 50).toFixed(2), y: 1, width: width.toFixed(2), height: 10 }),
      draw("line", { class: "axis", x1: 50, x2: 50, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" })
    );
    return picture;
  };
  const title = (element, name) => {
    if (name[1]) element.title = name[1];
    return element;
  };
  const equation = (terms, intercept, named) => {
    const line = $("equation");
    line.replaceChildren(make("bdi", named), ` = ${number(intercept)}`);
    for (const term of terms) {
      line.append(term.coef < 0 ? " \u2212 " : " + ", number(Math.abs(term.coef)) + " × ");
      line.append(title(make("bdi", data.features[term.j][0]), data.features[term.j]));
    }
    if (data.more) line.append(` + … (${grouped(data.more, 0)} more features)`);
  };
  const detail = (r) => {
    const of_feature = of(data.coef);
    const terms = data.features.map((_, j) => ({ j, coef: of_feature[j][r], effect: of_feature[j][r] * data.sd[j] }));
    terms.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect) || Math.abs(b.coef) - Math.abs(a.coef) || a.j - b.j);
    const rows = data.columns[0].values[0][r];
    const several = data.outputs.length > 1;
    const named = several ? `${data.quantity} of ${data.outputs[state.output]}` : data.quantity;
    $("detail-h").replaceChildren(`Region ${r}: ${grouped(rows, 0)} ${rows === 1 ? "row" : "rows"}, pattern `, make("span", data.patterns[r], "pattern"));
    equation(terms.filter((t) => t.coef !== 0).slice(0, 30), of(data.columns.find((c) => c.label === "intercept").values)[r], named);
    const zero = terms.filter((t) => t.coef === 0).length;
    const beyond = Math.max(terms.length - zero - 30, 0);
    $("detail-more").textContent = [
      beyond ? `The equation shows the 30 terms with the largest effect; the table below has ${beyond} more.` : "",
      data.more ? `${grouped(data.more, 0)} features of less importance are not in this page.` : "",
    ].join(" ").trim();
    $("detail-more").hidden = !beyond && !data.more;
    const head = ["feature", "coefficient", "coefficient × sd"];
    if (data.means.length) head.push("mean here");
    head.push("mean of all");
    $("coef-head").replaceChildren(...head.map((h, i) => Object.assign(make("th", h, i === 1 || i > 2 ? "n" : ""), { scope: "col" })));
    const longest = Math.max(...terms.map((t) => Math.abs(t.effect)));
    $("coef-rows").replaceChildren(
      ...terms.map((t) => {
        const line = make("tr");
        const name = title(make("th"), data.features[t.j]);
        name.scope = "row";
        name.append(make("bdi", data.features[t.j][0]));
        const picture = make("td");
        picture.title = number(t.effect);
        picture.append(effect(t.effect, longest));
        line.append(name, make("td", number(t.coef), "n"), picture);
        if (data.means.length) line.append(make("td", number(data.means[t.j][r]), "n"));
        line.append(make("td", number(data.overall[t.j]), "n"));
        return line;
      })
    );
    const facts = [...data.columns, ...data.details].filter((c) => c.kind !== "coef");
    $("detail-facts").replaceChildren(
      ...facts.map((c) => fact(c.label, c.kind === "number" ? number(of(c.values)[r]) : text(c, of(c.values)[r])))
    );
    $("detail").hidden = false;
  };
  const choose = (r, go) => {
    state.chosen = r;
    mark();
    detail(r);
    if (go) $("detail-h").focus({ preventScroll: true });
    if (go) $("detail").scrollIntoView({ block: "nearest" });
  };

  /* what the reader can do */
  for (const span of heads) {
    const button = make("button");
    button.type = "button";
    button.append(...span.childNodes);
    button.addEventListener("click", () => sort(Number(span.dataset.column)));
    span.append(button);
  }
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    if (line && !String(getSelection())) choose(Number(line.dataset.region), true);
  });
  $("find").addEventListener("input", () => { state.shown = STEP; refresh(); });
  $("least").addEventListener("input", () => { state.shown = STEP; refresh(); });
  $("more").addEventListener("click", () => { state.shown += STEP; fill(); });
  const selects = [...document.querySelectorAll(".choose-output")];
  for (const select of selects) {
    select.closest("label").hidden = false;
    select.addEventListener("change", () => {
      state.output = Number(select.value);
      for (const other of selects) other.value = select.value;
      for (const part of document.querySelectorAll("[data-output]")) part.hidden = Number(part.dataset.output) !== state.output;
      for (const id of ["scale-low", "scale-high"]) $(id).textContent = number(data.scale[state.output]);
      refresh();
      detail(state.chosen);
    });
  }
  $("controls").hidden = false;
  refresh();
  choose(0, false);
})();
