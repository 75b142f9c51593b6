/* what every part of the page uses: data, numbers as text, the selection that all parts share, files to download */
const relucidate = (() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

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
  /* one formatter for each number of decimals: making them is dear; ties go to the even digit, as in the page's HTML */
  const formatters = [];
  const grouped = (value, decimals) =>
    (formatters[decimals] ??= new Intl.NumberFormat("en-US", {
      minimumFractionDigits: decimals, maximumFractionDigits: decimals, roundingMode: "halfEven",
    })).format(value);
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
    if (p > 0 && p < least) return "<" + least.toFixed(decimals) + "\u00a0%";
    if (p < 100 && p > 100 - least) return ">" + (100 - least).toFixed(decimals) + "\u00a0%";
    return p.toFixed(p === 0 || p === 100 ? 0 : decimals) + "\u00a0%";
  };
  const number = (value) => {
    if (value === null) return "\u2013";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size < 1e-4 || size >= 1e7) return power(value, 4);
    return minus(grouped(value, Math.max(0, 3 - Math.floor(Math.log10(size)))));
  };

  /* an array from its bytes: little-endian base64, row by row; typed array with its shape */
  const unpack = ({ kind, shape, base64 }) => {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const array = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u2: Uint16Array, u1: Uint8Array }[kind];
    return { shape, values: new array(bytes.buffer) };
  };

  /* The selection: one value for each of output, region, feature (a column of the table), group (a model of the
     simplification) and case. A part listens with on() and selects with select(); every element with
     data-<kind>="<value>" is marked in all parts, and selects that value when it is clicked or given Enter. */
  const KINDS = ["region", "feature", "group"];
  const state = { output: 0, region: null, feature: null, group: null, case: null };
  const listeners = {};
  const on = (kind, listener) => (listeners[kind] ??= []).push(listener);
  const mark = (kind, root = document) => {
    for (const element of root.querySelectorAll(`[data-${kind}]`)) {
      const chosen = state[kind] !== null && element.dataset[kind] === String(state[kind]);
      element.classList.toggle("linked", chosen);
      const button = element.matches("[role=button]") ? element : element.querySelector(":scope > th > .choose");
      button?.setAttribute("aria-pressed", chosen);
    }
  };
  const select = (kind, value, how = {}) => {
    if (state[kind] === value && !how.again) return;
    state[kind] = value;
    if (KINDS.includes(kind)) mark(kind);
    for (const listener of listeners[kind] ?? []) listener(value, how);
    tell();
  };
  const names = {
    region: (r) => `region ${grouped(r, 0)}`,
    feature: (g) => data.core.columns[g][0],
    group: (m) => `model ${m}`,
  };
  const tell = () => {
    const chosen = KINDS.filter((kind) => state[kind] !== null);
    $("selection").hidden = !chosen.length;
    $("selection-text").replaceChildren(...chosen.flatMap((kind, i) => (i ? [", ", placed(kind)] : [placed(kind)])));
  };
  /* the name of what is selected, a link to the place that says most of it */
  const placed = (kind) => {
    const said = names[kind](state[kind]);
    const held = data.regions?.patterns.length ?? 0;
    const [id, what] = {
      region: [state.region < held ? "detail-h" : "", "its model"],
      feature: ["coefficients", "its coefficients"],
      group: ["simplification", "its rule"],
    }[kind];
    if (!id || !$(id)) return said;
    const link = make("a", said);
    link.href = "#" + id;
    link.title = "Show " + what;
    return link;
  };
  const kindOf = (element) => KINDS.find((kind) => element.dataset[kind] !== undefined);
  const pick = (event) => {
    const element = event.target.closest("[data-region], [data-feature], [data-group]");
    if (!element || event.target.closest("a, button, input, select, label") || String(getSelection())) return;
    const kind = kindOf(element);
    select(kind, Number(element.dataset[kind]), { from: element });
  };

  /* for the keyboard: what stands at the head of a row that selects something becomes a button, and so do the marks in a text */
  const operable = (root) => {
    for (const row of root.querySelectorAll("tr[data-region], tr[data-feature], tr[data-group]")) {
      const head = row.querySelector(":scope > th");
      if (!head?.textContent.trim() || head.querySelector("button, a") || row.closest(".simple-table")) continue;
      row.removeAttribute("tabindex");
      const kind = kindOf(row);
      const value = Number(row.dataset[kind]);
      const choose = button("", `${head.textContent.trim()}: select ${names[kind](value)} in all chapters`, () => select(kind, value, { from: row }));
      choose.className = "choose";
      choose.setAttribute("aria-pressed", state[kind] === value);
      choose.append(...head.childNodes);
      head.append(choose);
    }
    for (const text of root.querySelectorAll("span[tabindex][data-region], span[tabindex][data-feature]")) {
      text.setAttribute("role", "button");
      text.setAttribute("aria-pressed", "false");
    }
  };

  /* files */
  const save = (name, content, type) => {
    const link = make("a");
    link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  /* a number stays one; text that a spreadsheet would take for a formula gets an apostrophe in front */
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r\n]/.test(value) ? "'" + value : value;
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = (name, rows) =>
    save(name + ".csv", "\ufeff" + rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n", "text/csv");
  const asNumber = (text) => {
    const raised = (digits) => [...digits].map((c) => (c === "\u207b" ? "-" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079".indexOf(c))).join("");
    const plain = text.trim().replaceAll(",", "").replace("\u00a0", " ").replace("\u2212", "-").replace(/\u00d710(\D+)$/, (_, digits) => "e" + raised(digits));
    const [value, share] = plain.endsWith(" %") ? [plain.slice(0, -2), 100] : [plain, 1];
    if (!/^[+-]?\d+(\.\d+)?(e-?\d+)?$/.test(value)) return text.trim();
    return share === 1 ? Number(value) : Number((Number(value) / share).toPrecision(12));
  };
  const tableRows = (table) =>
    [...table.rows].map((row) =>
      [...row.cells].map((c) => (c.dataset.value === undefined ? asNumber(c.textContent) : asNumber(c.dataset.value)))
    );
  const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "opacity", "fill-opacity",
    "stroke-opacity", "font-size", "font-weight", "font-family", "text-anchor", "paint-order", "dominant-baseline"];
  /* a copy of a picture that needs no style sheet */
  const standalone = (picture) => {
    const copy = picture.cloneNode(true);
    const from = [picture, ...picture.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((element, i) => {
      const style = getComputedStyle(from[i]);
      for (const property of STYLES) element.setAttribute(property, style.getPropertyValue(property));
      for (const name of ["class", "style", "tabindex", "role"]) element.removeAttribute(name);
    });
    const [, , across, down] = picture.getAttribute("viewBox").split(/[ ,]+/).map(Number);
    /* room around it, and what stands beside it in the page: the output above, the feature below */
    const above = picture.closest("figure [data-output], figure[data-output], div[data-output]")?.querySelector(".output")?.textContent.trim();
    const below = picture.closest(".small-multiples figure")?.querySelector("figcaption")?.textContent.trim();
    const [top, bottom] = [above ? 34 : 14, below ? 28 : 14];
    const [width, height] = [across + 28, down + top + bottom];
    copy.setAttribute("xmlns", SVG);
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    copy.setAttribute("viewBox", `-14 ${-top} ${width} ${height}`);
    copy.prepend(draw("rect", { x: -14, y: -top, width, height, fill: getComputedStyle(document.body).backgroundColor }));
    const said = (text, y) => {
      const line = draw("text", { x: across / 2, y, "text-anchor": "middle", "font-size": "12px", "font-weight": 600, stroke: "none" });
      line.textContent = text;
      copy.append(line);
    };
    if (above) said(above, -14);
    if (below) said(below, down + 14);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  };
  const svgFile = (name, picture) => save(name + ".svg", standalone(picture).text, "image/svg+xml");
  const pngFile = (name, picture) => {
    const { text, width, height } = standalone(picture);
    const image = new Image();
    image.onload = () => {
      const canvas = make("canvas");
      canvas.width = 2 * width;
      canvas.height = 2 * height;
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(name + ".png", blob));
    };
    image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
  };
  const button = (text, label, act) => {
    const element = make("button", text);
    element.type = "button";
    element.setAttribute("aria-label", label);
    element.addEventListener("click", act);
    return element;
  };
  const fileName = (element) => {
    const part = element.closest("section");
    const among = [...part.querySelectorAll("figure, [data-csv]")].indexOf(element);
    return element.dataset.csv || part.id + (among > 0 ? "-" + (among + 1) : "");
  };
  /* buttons under every figure and table, once the page is read */
  const tools = () => {
    for (const figure of document.querySelectorAll("figure")) {
      if (!figure.querySelector("svg.picture")) continue;
      const bar = make("div", undefined, "tools");
      const shown = () => [...figure.querySelectorAll("svg.picture")].find((picture) => picture.getBoundingClientRect().width);
      bar.append(
        button("SVG", "Download this picture as SVG", () => svgFile(fileName(figure), shown())),
        button("PNG", "Download this picture as PNG", () => pngFile(fileName(figure), shown()))
      );
      figure.append(bar);
    }
    for (const holder of document.querySelectorAll("[data-csv]")) {
      const bar = make("div", undefined, "tools");
      bar.append(button("CSV", "Download this table as CSV", () => csv(fileName(holder), tableRows(holder.querySelector("table")))));
      holder.after(bar);
    }
  };

  /* what the whole page does */
  const start = () => {
    document.addEventListener("click", pick);
    document.addEventListener("keydown", (event) => {
      if (["Enter", " "].includes(event.key) && event.target.matches("[tabindex][data-region], [tabindex][data-feature], [tabindex][data-group]")) {
        event.preventDefault();
        pick(event);
      }
      if (event.key === "Escape") for (const kind of KINDS) select(kind, null);
    });
    $("clear").addEventListener("click", () => { for (const kind of KINDS) select(kind, null); });
    const selects = [...document.querySelectorAll(".choose-output")];
    for (const chooser of selects) {
      chooser.closest("label").hidden = false;
      chooser.addEventListener("change", () => select("output", Number(chooser.value)));
    }
    on("output", (output) => {
      for (const chooser of selects) chooser.value = String(output);
      for (const part of document.querySelectorAll("[data-output]")) part.hidden = Number(part.dataset.output) !== output;
    });
    const links = new Map([...document.querySelectorAll(".contents a")].map((link) => [link.hash.slice(1), link]));
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          for (const link of links.values()) link.removeAttribute("aria-current");
          links.get(entry.target.id).setAttribute("aria-current", "true");
        }
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    for (const id of links.keys()) if ($(id)) seen.observe($(id));
    operable(document);
    tools();
  };

  return { data, $, make, draw, minus, power, grouped, fixed, percent, number, unpack, state, on, select, mark, csv, save, button, operable, start };
})();
