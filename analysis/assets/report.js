"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 40rem)");
  const twins = read("dark-twins");
  const charts = {};
  const hidden = {};
  const whole = new Set();
  let printing = false;

  // Charts. Each is drawn from its JSON with light colours; on dark paper every colour that has a
  // dark twin is swapped for it.
  const recolour = (value) => {
    if (typeof value === "string") return twins[value] || value;
    if (Array.isArray(value)) return value.map(recolour);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recolour(v)]));
  };

  // Undoes analysis/charts/compaction.py.
  const expand = (value) => {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(expand);
    if (value.$rows) return value.$rows.map((row) => row.map((i) => value.$lines[i]).join("<br>"));
    if (value.$runs) return value.$runs.flatMap(([item, count]) => Array(count).fill(item));
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, expand(v)]));
  };

  // On a narrow page fewer names fit beside the front; those that stay need room on the left.
  const roomForNames = (figure, box) => {
    const { xaxis, yaxis } = figure.layout;
    const front = figure.data.find((trace) => trace.meta.key === "front" && trace.text);
    if (!front) return;
    xaxis.range[0] -= 0.1 * (xaxis.range[1] - xaxis.range[0]);
    const place = (values, range, pixels) =>
      values.map((value) => ((value - range[0]) / (range[1] - range[0])) * pixels);
    const width = figure.layout.width || box.clientWidth;
    const x = place(front.x.map(Math.log10), xaxis.range, width - 48);
    const y = place(front.y, yaxis.range, (figure.layout.height || box.clientHeight) - 56);
    const kept = [];
    front.text = front.text.map((name, i) => {
      const clear = x.every((other, k) => k === i || other > x[i] || other < x[i] - 50 || Math.abs(y[k] - y[i] - 8) > 16);
      const free = clear && kept.every((k) => Math.abs(x[i] - x[k]) > 46 || Math.abs(y[i] - y[k]) > 16);
      if (!name || !free) return "";
      kept.push(i);
      return name;
    });
  };

  const draw = (name) => {
    const box = document.getElementById("chart-" + name);
    const panel = box.classList.contains("panel"); // one of two side by side, as tall as its bars
    const copy = expand(JSON.parse(charts[name]));
    const figure = dark.matches && !printing ? recolour(copy) : copy;
    const layout = figure.layout;
    layout.autosize = true;
    layout.showlegend = false;
    layout.uirevision = whole.has(name); // a zoomed view survives a change of theme
    if (narrow.matches && !printing && !panel) {
      layout.margin = { l: 40, r: name === "curves" ? 40 : 8, t: 12, b: 44 };
      layout.dragmode = false; // a finger on the chart scrolls the page
      if (name === "curves") layout.xaxis.range[1] /= 1.06; // the names stand in the margin
    }
    if (printing) {
      layout.autosize = false;
      layout.width = panel ? 320 : 660;
      layout.height = panel ? box.clientHeight : 380;
    }
    if (name === "front" && (layout.width || box.clientWidth) < 720) roomForNames(figure, box);
    for (const trace of figure.data) {
      if (hidden[name].has(trace.meta.key)) trace.visible = false;
    }
    layout.annotations = (layout.annotations || []).filter((note) => !hidden[name].has(note.name));
    if (whole.has(name)) layout.yaxis = { ...layout.yaxis, range: undefined, autorange: true };
    return Plotly.react(box, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow.matches ? false : "hover",
      // Named one by one: Plotly's own choice has a button that sends the chart to a server.
      modeBarButtons: panel ? [["toImage"]] : [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
      plotlyServerURL: "",
      toImageButtonOptions: { format: "svg", filename: document.title + " " + name },
    });
  };
  const drawAll = () => Promise.all(Object.keys(charts).map(draw));

  for (const element of document.querySelectorAll("script[id^=figure-]")) {
    const name = element.id.slice("figure-".length);
    charts[name] = element.textContent;
    hidden[name] = new Set();
  }

  // Round ticks for whatever part of the latency axis is in view.
  const series = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7]];
  series.push([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]);
  const ticksBetween = (low, high) => {
    for (const steps of series) {
      let ticks = [];
      for (let d = Math.floor(Math.log10(low)); d <= Math.ceil(Math.log10(high)); d++) {
        ticks.push(...steps.map((s) => Number((s * 10 ** d).toPrecision(6))));
      }
      ticks = ticks.filter((t) => t >= low && t <= high);
      if (ticks.length >= 5) return ticks;
    }
    const decade = 10 ** Math.floor(Math.log10(high - low));
    const step = [1, 2, 5, 10].map((d) => decade / d).find((s) => (high - low) / s >= 5);
    const first = Math.ceil(low / step);
    const count = Math.floor(high / step) - first + 1;
    return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(6)));
  };
  const retick = (box) => {
    const axis = box._fullLayout.xaxis;
    if (axis.type !== "log") return;
    const ticks = ticksBetween(10 ** axis.range[0], 10 ** axis.range[1]);
    if (String(ticks) !== String(axis.tickvals)) {
      Plotly.relayout(box, { "xaxis.tickvals": ticks, "xaxis.ticktext": ticks.map(String) });
    }
  };

  drawAll().then(() => {
    for (const name of Object.keys(charts)) {
      const box = document.getElementById("chart-" + name);
      box.on("plotly_relayout", (change) => {
        if (Object.keys(change).some((key) => key.startsWith("xaxis.range") || key === "xaxis.autorange")) retick(box);
      });
    }
    document.documentElement.dataset.ready = "yes";
  });
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => { printing = true; drawAll(); });
  window.addEventListener("afterprint", () => { printing = false; drawAll(); });

  // The keys of the charts show and hide a group.
  for (const button of document.querySelectorAll("button.key")) {
    button.addEventListener("click", () => {
      const { chart, group } = button.dataset;
      const shown = button.getAttribute("aria-pressed") === "true";
      button.setAttribute("aria-pressed", String(!shown));
      if (shown) hidden[chart].add(group);
      else hidden[chart].delete(group);
      draw(chart);
    });
  }

  for (const button of document.querySelectorAll("button.whole")) {
    button.addEventListener("click", () => {
      const { chart } = button.dataset;
      const wide = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(wide));
      if (wide) whole.add(chart);
      else whole.delete(chart);
      draw(chart);
    });
  }

  // Tables: numbers by data-order or by what is shown, missing ones always last; all else by text.
  const keyOf = (cell) => {
    if (cell.dataset.order !== undefined) return Number(cell.dataset.order);
    const text = cell.textContent.trim();
    if (text === "–" || text === "") return null;
    const number = Number(text.replace("−", "-").replaceAll(",", ""));
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const keyed = [...body.rows].map((row) => [keyOf(row.cells[column]), row]);
        keyed.sort((one, other) => compare(one[0], other[0], up ? 1 : -1));
        body.append(...keyed.map(([, row]) => row));
      });
    });
  }

  // The field above the list of trials keeps the rows that hold every word typed.
  for (const field of document.querySelectorAll("input[data-table]")) {
    const table = document.getElementById(field.dataset.table);
    const count = document.getElementById(field.dataset.table + "-count");
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map((row) => [...row.cells].map((c) => c.textContent).join(" ").toLowerCase());
    const whole = count.textContent;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/,?(?:\s+|$)/).filter(Boolean);
      let kept = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        kept += !row.hidden;
      });
      count.textContent = words.length ? kept.toLocaleString("en") + " of " + whole : whole;
    });
  }
})();
