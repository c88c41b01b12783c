"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 40rem)");
  const twins = read("dark-twins");
  const axes = document.getElementById("axes-front");
  const charts = {};
  const hidden = {};
  const whole = new Set();
  const zoomed = new Set(); // charts whose ticks are those of a part of the axis
  let printing = false;
  let axis = "latency";
  let picked = null; // the name of a trial

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
    const x = place(front.x.map((value) => (value === null ? NaN : Math.log10(value))), xaxis.range, width - 48);
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

  // What the front chart is drawn over, see analysis/charts/axes.py.
  const note = document.getElementById("axis-note");
  const changeAxis = (figure) => {
    if (!axes) return;
    const change = expand(JSON.parse(axes.textContent))[axis];
    note.textContent = change.note;
    if (axis === "latency") return;
    const { layout } = figure;
    figure.data.forEach((trace, i) => {
      trace.x = change.x[i];
      if (trace.line && trace.line.shape) {
        trace.y = change.step.y;
        trace.line.shape = change.step.shape;
      }
      if (trace.meta.key === "front" && trace.text) trace.text = change.names;
    });
    Object.assign(layout.xaxis, change.xaxis);
    layout.xaxis.title.text = change.title;
    layout.annotations = (layout.annotations || []).filter((note) => note.name !== "control");
    layout.annotations.push(...change.arrows);
  };

  // A ring around the mark of the trial that was picked.
  const ring = (figure) => {
    for (const trace of figure.data) {
      const i = picked && trace.customdata && trace.meta.key !== "line" ? trace.customdata.indexOf(picked) : -1;
      if (i < 0 || trace.mode.includes("lines") || hidden.front.has(trace.meta.key)) continue;
      figure.data.push({
        x: [trace.x[i]], y: [trace.y[i]], mode: "markers", hoverinfo: "skip", cliponaxis: false, meta: { key: "picked" },
        marker: { symbol: "circle-open", size: 22, color: "#1b1f24", line: { width: 2.2 } },
      });
      return;
    }
  };

  const draw = (name) => {
    const box = document.getElementById("chart-" + name);
    const panel = box.classList.contains("panel"); // one of two side by side, as tall as its bars
    const copy = expand(JSON.parse(charts[name]));
    if (name === "front") changeAxis(copy);
    if (name === "front") ring(copy);
    const figure = dark.matches && !printing ? recolour(copy) : copy;
    const layout = figure.layout;
    layout.autosize = true;
    layout.showlegend = false;
    layout.uirevision = whole.has(name) + axis; // a zoomed view survives a change of theme
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
    if (name === "front" && (layout.width || box.clientWidth) < 900) roomForNames(figure, box);
    for (const trace of figure.data) {
      if (hidden[name].has(trace.meta.key)) trace.visible = false;
    }
    layout.annotations = (layout.annotations || []).filter((note) => !hidden[name].has(note.name));
    if (whole.has(name)) layout.yaxis = { ...layout.yaxis, range: undefined, autorange: true };
    const drawn = Plotly.react(box, figure.data, layout, {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow.matches ? false : "hover",
      // Named one by one: Plotly's own choice has a button that sends the chart to a server.
      modeBarButtons: panel ? [["toImage"]] : [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
      plotlyServerURL: "",
      toImageButtonOptions: { format: "svg", filename: document.title + " " + name },
    });
    return zoomed.has(name) ? drawn.then(() => retick(box)) : drawn;
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

  // Plotly comes gzipped. The first screen is drawn first, and the page answers between two charts.
  const unpack = async () => {
    const packed = document.getElementById("packed-plotly").textContent;
    if (!packed) return;
    const letters = atob(packed);
    const bytes = new Uint8Array(letters.length); // two million: Uint8Array.from takes 0.3 s longer
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };
  const start = async () => {
    await unpack();
    for (const name of Object.keys(charts)) {
      await draw(name);
      const box = document.getElementById("chart-" + name);
      box.on("plotly_relayout", (change) => {
        if (!Object.keys(change).some((key) => key.startsWith("xaxis.range") || key === "xaxis.autorange")) return;
        zoomed.add(name);
        retick(box);
      });
      box.on("plotly_click", (event) => {
        const { data, customdata, pointNumber } = event.points[0];
        const trial = customdata || (data.customdata && data.customdata[pointNumber]);
        if (trial) window.pickTrial(String(trial).split(/[ ,]/)[0]);
      });
      await new Promise((next) => setTimeout(next));
    }
    document.documentElement.dataset.ready = "yes";
  };
  start().catch((error) => {
    // An old browser, without DecompressionStream: the tables say the same.
    for (const box of document.querySelectorAll(".chart")) {
      box.textContent = "This browser cannot draw the chart (" + error.message + "); the tables hold its numbers.";
    }
    document.documentElement.dataset.ready = "no";
  });
  window.addEventListener("trialpicked", (event) => {
    picked = event.detail;
    if (charts.front && window.Plotly) draw("front");
  });
  for (const choice of document.querySelectorAll("input[name=axis]")) {
    choice.checked = choice.value === axis; // a reload may restore another
    choice.addEventListener("change", () => {
      axis = choice.value;
      draw("front");
    });
  }
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
})();
