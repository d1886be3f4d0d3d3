// Draws chosen columns of a dataset: <form data-plot="address of the points" data-filter="conditions">.
(() => {
  const form = document.querySelector("form[data-plot]");
  if (!form) return;
  const chart = document.getElementById("chart"), note = document.getElementById("plot-note");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dashes = [[], [8, 4], [2, 4], [12, 4, 2, 4]]; // lines are told apart without their colours, too
  let drawn, points;

  const draw = () => {
    drawn?.destroy();
    if (!points) return;
    const dots = form.elements.as.value === "dots";
    const axis = { stroke: style("--quiet"), grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 } };
    const series = points.ys.map((label, i) => ({
      label,
      stroke: style(`--line-${i + 1}`),
      width: 2,
      dash: dots ? undefined : dashes[i],
      paths: dots ? () => null : undefined,
      points: { show: dots || points.rows < 40, size: 5 },
    }));
    const x = points.x.is_time ? { label: points.x.label, value: "{YYYY}-{MM}-{DD} {HH}:{mm}" } : { label: points.x.label };
    drawn = new uPlot({
      width: chart.clientWidth, height: Math.min(360, Math.max(220, chart.clientWidth * 0.45)),
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "Etc/UTC"),
      scales: { x: { time: points.x.is_time } }, axes: [axis, axis], series: [x, ...series],
    }, points.data, chart);
  };

  const load = async () => {
    const query = new URLSearchParams(form.dataset.filter);
    for (const [key, value] of new FormData(form)) query.append(key, value);
    const [path, own] = form.dataset.plot.split("?");
    note.textContent = "Drawing…";
    try {
      const answer = await fetch(`${path}?${own ? own + "&" : ""}${query}`);
      const found = await answer.json();
      if (found.error) throw new Error(found.error);
      points = found;
      const filtered = form.dataset.filter ? " that match" : "";
      note.textContent = points.rows === 5000 ? `The first 5000 rows${filtered}.` : `${points.rows} rows${filtered}.`;
      chart.setAttribute("aria-label", `Plot of ${points.ys.join(", ")} over ${points.x.label}; the numbers are in the table of rows`);
      draw();
    } catch (error) {
      points = undefined;
      draw();
      note.textContent = error instanceof SyntaxError ? "The platform did not answer; try again." : error.message;
    }
  };

  form.addEventListener("submit", (event) => { event.preventDefault(); load(); });
  form.elements.as.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = chart.clientWidth;
  new ResizeObserver(() => { if (chart.clientWidth !== width) { width = chart.clientWidth; draw(); } }).observe(chart);
  load();
})();
