/* the simplification: pick a number of models, look at one model */
(() => {
  "use strict";
  const data = relucidate.data.simplification;
  if (!data) return;
  const { $, grouped, unpack, state, on, select } = relucidate;
  const NONE = 65535;
  const panels = [...document.querySelectorAll(".simple-panel")];
  const marks = [...document.querySelectorAll("#simplification [data-pick]")];
  const lines = [...document.querySelectorAll("#simplification [data-number]")];
  const chooser = $("simple-pick");
  const groupOf = data.groupOf ? unpack(data.groupOf).values : null;
  let picked = data.chosen;

  const pick = (models) => {
    picked = models;
    for (const panel of panels) panel.hidden = Number(panel.dataset.models) !== models;
    for (const mark of marks) mark.classList.toggle("simple-picked", Number(mark.dataset.pick) === models);
    for (const line of lines) line.classList.toggle("simple-picked", Number(line.dataset.number) === models);
    if (!chooser) return;
    chooser.value = String(models);
    $("simple-status").textContent = data.said[data.models.indexOf(models)];
    /* a selected model is one of the chosen number */
    if (models !== data.chosen && state.group !== null) select("group", null);
  };

  /* one model alone in its table */
  const filters = panels.map((panel) => ({ panel, holder: panel.querySelector(".simple-filter") })).filter(({ holder }) => holder);
  const show = ({ panel, holder }, model) => {
    holder.querySelector("select").value = model;
    for (const line of panel.querySelectorAll("[data-model]")) line.hidden = model !== "" && line.dataset.model !== model;
  };
  for (const filter of filters) {
    filter.holder.hidden = false;
    const menu = filter.holder.querySelector("select");
    menu.addEventListener("change", () => {
      const model = menu.value;
      if (filter.panel.classList.contains("simple-given")) select("group", model === "" ? null : Number(model));
      else show(filter, model);
    });
  }
  on("group", (model) => {
    if (model !== null && picked !== data.chosen) pick(data.chosen);
    for (const filter of filters) {
      if (!filter.panel.classList.contains("simple-given")) continue;
      const known = [...filter.holder.querySelectorAll("option")].some((option) => option.value === String(model));
      show(filter, known ? String(model) : "");
    }
  });
  on("region", (region) => {
    const model = groupOf === null || region === null ? undefined : groupOf[region];
    const told = $("simple-region");
    told.hidden = model === undefined;
    told.textContent = model === undefined ? "" : `Region ${grouped(region, 0)} ${model === NONE ? "is not known to the simplification" : `goes with model ${model}`}.`;
  });

  if (chooser) {
    $("simple-controls").hidden = false;
    chooser.addEventListener("change", () => pick(Number(chooser.value)));
    for (const mark of marks) mark.addEventListener("click", () => pick(Number(mark.dataset.pick)));
    for (const line of lines) line.addEventListener("click", () => pick(Number(line.dataset.number)));
    pick(data.chosen);
  }
})();
