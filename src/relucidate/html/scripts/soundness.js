/* the marks of the selected region lie on top of the others */
(() => {
  "use strict";
  relucidate.on("region", () => {
    for (const mark of document.querySelectorAll("figure circle.linked[data-region]")) mark.parentNode.append(mark);
  });
})();
