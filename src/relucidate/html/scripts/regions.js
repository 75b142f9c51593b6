/* the table of regions and the details of one */
(() => {
  "use strict";
  const data = relucidate.data.regions;
  if (!data) return;
  const { $, make, draw, power, grouped, fixed, percent, number, unpack, state, on, select } = relucidate;
  const STEP = 100;
  const NEIGHBOURS = 8;
  const table = { column: -1, descending: false, shown: STEP, order: [] };
  const count = data.patterns.length;
  const several = data.outputs.length > 1;

  /* numbers from bytes; what is NaN or beyond the end is null */
  for (const column of [...data.columns, ...data.details]) {
    if (column.values) column.values = column.values.map((part) => unpack(part).values);
  }
  const coef = unpack(data.coef);
  const more = unpack(data.moreCoef);
  const means = unpack(data.means);
  const spread = unpack(data.spread);
  const flags = unpack(data.flags).values;
  const group = data.groups ? unpack(data.groups.model).values : null;
  const known = (value) => (value === undefined || Number.isNaN(value) ? null : value);
  const of = (parts) => parts[Math.min(state.output, parts.length - 1)];
  /* the coefficient of a feature in a region, of the output chosen */
  const coefficient = (j, r) => {
    const [, features, complete] = coef.shape;
    if (r < complete) return known(coef.values[(state.output * features + j) * complete + r]);
    const [, columns, others] = more.shape;
    if (j >= columns || r - complete >= others) return null;
    return known(more.values[(state.output * columns + j) * others + r - complete]);
  };
  const at = (array, j, r) => (r < array.shape[1] ? known(array.values[j * array.shape[1] + r]) : null);
  const value = (column, r) => (column.feature === undefined ? known(of(column.values)[r]) : coefficient(column.feature, r));
  const rows = data.columns[0].values[0];
  const found = (label) => data.columns.findIndex((column) => column.label === label);
  const intercept = data.columns[found("intercept")];
  const verdict = data.columns.find((column) => column.kind === "verdict").values[0];
  const words = [...data.reasons, "reliable"];

  const text = (column, shown) =>
    column.kind === "verdict" ? words[shown] : column.kind === "share" ? percent(shown) : fixed(shown, column.kind === "count" ? 0 : column.decimals);
  const heat = (shown, feature) => {
    const scale = data.scale[state.output];
    const sd = data.sd[feature];
    if (shown === null || sd === null || scale === 0) return "h0";
    const level = Math.floor(Math.min(Math.abs(shown * sd) / scale, 1) * data.levels + 0.5);
    return "h" + (shown < 0 ? -level : level);
  };
  const twoDigits = (size) => (size && (size < 1e-4 || size >= 1e7) ? power(size) : grouped(size, Math.max(0, size ? 1 - Math.floor(Math.log10(size)) : 0)));
  const rowsOf = (n) => `${grouped(n, 0)} ${n === 1 ? "row" : "rows"}`;

  /* the table */
  const body = $("regions-table").tBodies[0];
  const largest = data.columns.find((column) => column.kind === "share").values[0].reduce((a, b) => Math.max(a, b), 0.01);

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
      const shown = value(column, r);
      const cell = make("td", text(column, shown), column.kind === "verdict" ? "judged" : "n");
      if (column.kind === "coef") cell.classList.add(heat(shown, column.feature));
      if (column.kind === "share") {
        cell.classList.add("share");
        cell.append(bar(shown));
      }
      line.append(cell);
    }
    return line;
  };
  const allowed = () => {
    const wanted = $("verdict").value;
    if (wanted === "") return () => true;
    if (wanted === "reliable") return (r) => flags[r] === 0;
    return (r) => ((flags[r] >> Number(wanted)) & 1) === 1;
  };
  const arrange = () => {
    const wanted = $("find").value.trim().toLowerCase();
    const least = Number($("least").value) || 1;
    const judged = allowed();
    const member = group && state.group !== null ? (r) => group[r] === state.group : () => true;
    const kept = [];
    for (let r = 0; r < count; r++) {
      if (rows[r] >= least && judged(r) && member(r) && (!wanted || String(r) === wanted || data.patterns[r].startsWith(wanted))) kept.push(r);
    }
    if (table.column >= 0) {
      const column = data.columns[table.column];
      const key = new Float64Array(count);
      /* what has no number comes last, whichever way the others go */
      for (const r of kept) key[r] = value(column, r) ?? Infinity;
      const sign = table.descending ? -1 : 1;
      kept.sort((a, b) => {
        if (key[a] === Infinity || key[b] === Infinity) return (key[a] === Infinity) - (key[b] === Infinity) || a - b;
        return sign * (key[a] - key[b]) || a - b;
      });
    } else if (table.descending) kept.reverse();
    table.order = kept;
  };
  const mark = () => {
    relucidate.mark("region", body);
    const columns = data.columns.flatMap((column, i) =>
      column.feature !== undefined && data.columnOf[column.feature] === state.feature ? [i + 1] : []
    );
    for (const cell of body.querySelectorAll(".column-linked")) cell.classList.remove("column-linked");
    if (columns.length) for (const line of body.rows) for (const i of columns) line.cells[i].classList.add("column-linked");
  };
  const fill = () => {
    const lines = table.order.slice(0, table.shown).map(row);
    body.replaceChildren(...lines);
    mark();
    const left = table.order.length - lines.length;
    $("status").textContent =
      table.order.length === count
        ? `${grouped(count, 0)} ${count === 1 ? "region" : "regions"}`
        : `${grouped(table.order.length, 0)} of ${grouped(count, 0)} regions match`;
    $("more").hidden = left <= 0;
    $("more").textContent = `Show ${Math.min(left, STEP)} more, of ${grouped(left, 0)}`;
  };
  const refresh = () => {
    arrange();
    fill();
  };
  const again = () => {
    table.shown = STEP;
    refresh();
  };
  let chosen = 0;
  const heads = [...document.querySelectorAll("#regions-table .head-text")];
  const sort = (column) => {
    /* numbers from the largest, words and places from the first */
    const down = column >= 0 && data.columns[column].kind !== "verdict";
    table.descending = table.column === column ? !table.descending : down;
    table.column = column;
    for (const span of heads) {
      const head = span.closest("th");
      if (Number(span.dataset.column) === column) {
        head.setAttribute("aria-sort", table.descending ? "descending" : "ascending");
      } else head.removeAttribute("aria-sort");
    }
    again();
  };

  /* all of the table, not the rows drawn only; numbers with the digits that the page has */
  const digits = (shown) => (shown === null ? null : Number(shown.toPrecision(7)));
  const download = () => {
    const suffix = several ? ` [${data.outputs[state.output]}]` : "";
    const columns = [...data.columns, ...data.details];
    const head = ["region", "pattern", ...columns.map((column) => (column.feature === undefined ? column.label : `coefficient of ${data.features[column.feature][0]}${suffix}`)), "reasons"];
    if (group) head.push("model of the simplification");
    const lines = data.patterns.map((pattern, r) => {
      const line = [r, pattern];
      for (const column of columns) line.push(column.kind === "verdict" ? words[verdict[r]] : digits(value(column, r)));
      line.push(reasons(r).join("; "));
      if (group) line.push(group[r] === data.groups.none ? null : group[r]);
      return line;
    });
    relucidate.csv("regions", [head, ...lines]);
  };
  const reasons = (r) => data.reasons.filter((_, j) => (flags[r] >> j) & 1);
  /* for other chapters: whether the model of a region can be trusted, "" where the page does not say */
  relucidate.trusted = (r) => {
    if (r >= count) return "";
    const against = reasons(r);
    return against.length ? `The model of the region is not reliable: ${against.join("; ")}.` : "Nothing that was looked at speaks against the region\u2019s model.";
  };

  /* the details of one region */
  const fact = (term, shown) => {
    const pair = make("div");
    pair.append(make("dt", term), make("dd", shown));
    return pair;
  };
  const link = (words, label, act) => {
    const button = relucidate.button(words, label, act);
    button.className = "link";
    return button;
  };
  const title = (element, name) => {
    if (name[1]) element.title = name[1];
    return element;
  };
  const effect = (term, longest) => {
    const picture = draw("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" });
    const place = (size) => 50 + (longest ? (49 * size) / longest : 0);
    const end = place(term.effect);
    picture.append(
      draw("rect", { class: term.effect < 0 ? "neg" : "pos", x: Math.min(50, end).toFixed(2), y: 1, width: Math.abs(end - 50).toFixed(2), height: 10 }),
      draw("line", { class: "axis", x1: 50, x2: 50, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" })
    );
    if (term.usual !== null) {
      const x = place(term.usual).toFixed(2);
      picture.append(draw("line", { class: "average", x1: x, x2: x, y1: 0, y2: 12, "vector-effect": "non-scaling-stroke" }));
    }
    return picture;
  };
  /* where the rows of the region lie on the reach of the table: mean, and a standard deviation to either side */
  const strip = (j, r) => {
    const [low, high, mean, sd] = [data.low[j], data.high[j], at(means, j, r), at(spread, j, r)];
    const cell = make("td", undefined, "strip");
    if (low === null || high === null || mean === null) return cell;
    const picture = draw("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" });
    const place = (x) => 1 + 98 * Math.min(Math.max((x - low) / (high - low), 0), 1);
    const line = (kind, x) => draw("line", { class: kind, x1: place(x).toFixed(2), x2: place(x).toFixed(2), y1: kind === "mean" ? 1 : 0, y2: kind === "mean" ? 11 : 12, "vector-effect": "non-scaling-stroke" });
    picture.append(draw("rect", { class: "track", x: 1, y: 4, width: 98, height: 4 }));
    const [from, to] = data.indicator[j] ? [0, mean] : [mean - (sd ?? 0), mean + (sd ?? 0)];
    picture.append(draw("rect", { class: "here", x: place(from).toFixed(2), y: 2, width: Math.max(place(to) - place(from), 0).toFixed(2), height: 8 }));
    if (data.overall[j] !== null) picture.append(line("all", data.overall[j]));
    picture.append(line("mean", mean));
    cell.title = data.indicator[j]
      ? `${percent(mean, 1)} of the rows here, ${percent(data.overall[j], 1)} of all`
      : `mean ${number(mean)}${sd === null ? "" : `, standard deviation ${number(sd)}`}; 5 to 95 % of all rows: ${number(low)} to ${number(high)}`;
    cell.append(picture);
    return cell;
  };
  const equation = (terms, named, r) => {
    const line = $("equation");
    const shown = terms.filter((t) => t.coef !== 0 && t.coef !== null).slice(0, 30);
    line.replaceChildren(make("bdi", named), ` = ${number(value(intercept, r))}`);
    for (const term of shown) {
      line.append(term.coef < 0 ? " \u2212 " : " + ", number(Math.abs(term.coef)) + " × ");
      line.append(title(make("bdi", data.features[term.j][0]), data.features[term.j]));
    }
    const unknown = data.more + terms.filter((t) => t.coef === null).length;
    if (unknown) line.append(` + … (${grouped(unknown, 0)} more features)`);
    const beyond = terms.filter((t) => t.coef !== 0 && t.coef !== null).length - shown.length;
    $("detail-more").textContent = [
      beyond ? `The equation shows the 30 terms with the largest effect; the table below has ${beyond} more.` : "",
      unknown ? `The coefficients of ${grouped(unknown, 0)} features of less importance are not in this page for this region.` : "",
    ].join(" ").trim();
    $("detail-more").hidden = !beyond && !unknown;
  };
  const coefficients = (terms, r) => {
    const here = r < means.shape[1];
    const head = ["feature", "coefficient", "mean coefficient", "coefficient × sd"];
    if (here) head.push("mean here", "rows here");
    head.push(here ? "of all" : "mean of all");
    const right = new Set([1, 2, 4, head.length - 1]);
    $("coef-head").replaceChildren(
      ...head.map((h, i) => Object.assign(make("th", h, (here ? right : new Set([1, 2, 4])).has(i) ? "n" : ""), { scope: "col" }))
    );
    const longest = terms.reduce((most, t) => Math.max(most, Math.abs(t.effect), Math.abs(t.usual ?? 0)), 0);
    const average = of(data.average);
    $("coef-rows").replaceChildren(
      ...terms.map((t) => {
        const line = make("tr");
        const g = data.columnOf[t.j];
        line.dataset.feature = g;
        const name = make("th");
        name.scope = "row";
        const shown = link(undefined, `Select ${data.features[t.j][0]} in all chapters`, () => select("feature", g));
        shown.append(title(make("bdi", data.features[t.j][0]), data.features[t.j]));
        name.append(shown);
        const picture = make("td", undefined, "bar");
        picture.title = `${number(t.effect)}; of the mean coefficient ${number(t.usual)}`;
        picture.append(effect(t, longest));
        line.append(name, make("td", number(t.coef), "n"), make("td", number(average[t.j]), "n"), picture);
        const shownMean = (mean) => (data.indicator[t.j] ? percent(mean, 1) : number(mean));
        if (here) line.append(make("td", shownMean(at(means, t.j, r)), "n"), strip(t.j, r));
        line.append(make("td", shownMean(data.overall[t.j]), "n"));
        return line;
      })
    );
    relucidate.mark("feature", $("coef-rows"));
    const why = rows[r] < data.least
      ? `It has fewer than ${data.least} rows: their mean and spread would show somebody\u2019s row.`
      : here ? "" : "Mean and spread of its rows are not in this page.";
    const strips = here
      ? " Rows here: mean and one standard deviation to either side, or the share of the rows with a level, on the range that holds 90 % of the table\u2019s rows; the thin line is the mean of all."
      : "";
    $("coef-key").textContent = `The dark line on a bar is the mean coefficient, over all rows.${strips} ${why}`.trim();
  };
  const facets = (r) => {
    const bounds = data.facets[r];
    $("facets").replaceChildren();
    if (!bounds) {
      $("facets-said").textContent =
        rows[r] < data.least ? `Not in this page for a region of fewer than ${data.least} rows. ${data.facetsSaid}`
        : data.facetsSaid || "It is not bounded: no neuron switches.";
      return;
    }
    const [n, walls, lines] = bounds;
    $("facets-said").textContent =
      `${grouped(n, 0)} of ${grouped(walls, 0)} inequalities bound it` +
      (lines.length < n ? `; the ${lines.length} nearest to the mean of its rows, the others at their mean:` : ", here at the mean of its rows:");
    $("facets").append(
      ...lines.map(([said, neuron, distance, beyond]) => {
        const line = make("li");
        line.append(make("bdi", said), make("br"));
        const rest = make("span", `${distance === null ? "" : `${distance} sd away; `}${neuron}`, "quiet");
        line.append(rest);
        if (beyond >= 0 && beyond < count) rest.append("; switched alone: ", link(`region ${beyond}`, `Select region ${beyond}`, () => choose(beyond)));
        return line;
      })
    );
  };
  /* neighbours of each region, as places in the list of pairs */
  const pairs = { one: unpack(data.next.one).values, other: unpack(data.next.other).values, neuron: unpack(data.next.neuron).values, jump: unpack(data.next.jump).values };
  const beside = new Map();
  for (let i = 0; i < pairs.one.length; i++) {
    for (const r of [pairs.one[i], pairs.other[i]]) {
      if (!beside.has(r)) beside.set(r, []);
      beside.get(r).push(i);
    }
  }
  const neighbours = (r) => {
    const near = (beside.get(r) ?? []).map((i) => ({ i, r: pairs.one[i] === r ? pairs.other[i] : pairs.one[i] }));
    near.sort((a, b) => a.r - b.r);
    const partly = data.next.all ? "" : " in this page";
    $("near-said").textContent = near.length
      ? `${grouped(near.length, 0)} ${near.length === 1 ? "region differs" : "regions differ"}${partly} in one neuron${near.length > NEIGHBOURS ? `; the ${NEIGHBOURS} largest` : ""}. A jump is the length of the change of the coefficients per standard deviation; all coefficients have the length ${number(data.next.typical)} on average.`
      : `No region${partly || " with rows"} differs from it in one neuron alone.`;
    $("near").replaceChildren(
      ...near.slice(0, NEIGHBOURS).map(({ i, r: other }) => {
        const line = make("li");
        line.append(link(`Region ${other}`, `Select region ${other}`, () => choose(other)), `: ${rowsOf(rows[other])}, jump ${number(known(pairs.jump[i]))} `);
        line.append(make("span", `(${data.next.names[pairs.neuron[i]]})`, "quiet"));
        return line;
      })
    );
  };
  const detail = (r) => {
    const average = of(data.average);
    const terms = data.features.map((_, j) => {
      const c = coefficient(j, r);
      const sd = data.sd[j] ?? 0;
      return { j, coef: c, effect: (c ?? 0) * sd, usual: average[j] === null ? null : average[j] * sd };
    });
    terms.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect) || Math.abs(b.coef) - Math.abs(a.coef) || a.j - b.j);
    const named = several ? `${data.quantity} of ${data.outputs[state.output]}` : data.quantity;
    $("detail-h").replaceChildren(`Region ${r}: ${rowsOf(rows[r])}, pattern `, make("span", data.patterns[r], "pattern"));
    const against = reasons(r);
    $("detail-verdict").textContent = against.length ? `Not reliable: ${against.join("; ")}.` : "Reliable: nothing that was looked at speaks against it.";
    equation(terms, named, r);
    coefficients(terms, r);
    const facts = [...data.columns, ...data.details].filter((c) => c.kind !== "coef" && c.kind !== "verdict");
    $("detail-facts").replaceChildren(
      ...facts.map((c) => fact(c.label, c.kind === "number" ? number(value(c, r)) : text(c, value(c, r))))
    );
    if (group) {
      const told = group[r] !== data.groups.none;
      const member = fact("model of the simplification", told ? undefined : "\u2013");
      if (told) member.lastChild.append(link(String(group[r]), `Select model ${group[r]} of the simplification`, () => select("group", group[r])));
      $("detail-facts").append(member);
    }
    facets(r);
    neighbours(r);
    $("detail").hidden = false;
  };
  const choose = (r) => {
    select("region", r, { again: true });
    $("detail-h").focus({ preventScroll: true });
    $("detail").scrollIntoView({ block: "nearest" });
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
    if (line && !String(getSelection())) choose(Number(line.dataset.region));
  });
  for (const id of ["find", "least", "verdict"]) $(id).addEventListener("input", again);
  $("more").addEventListener("click", () => { table.shown += STEP; fill(); });
  $("regions-tools").append(relucidate.button("CSV", "Download all regions in this page as CSV", download));
  const member = $("of-group");
  if (member) {
    member.addEventListener("change", () => select("group", member.value === "" ? null : Number(member.value)));
    on("group", (m) => {
      member.value = m === null || !group.includes(m) ? "" : String(m);
      again();
    });
  }
  on("output", (output) => {
    for (const id of ["scale-low", "scale-high"]) $(id).textContent = twoDigits(data.scale[output]);
    refresh();
    detail(chosen);
  });
  on("region", (r, how) => {
    mark();
    if (r === null || r >= count) return;
    detail((chosen = r));
    if (how.from?.closest("#regions figure")) $("detail").scrollIntoView({ block: "nearest" });
  });
  on("feature", mark);
  $("controls").hidden = false;
  refresh();
  detail(0);
})();
