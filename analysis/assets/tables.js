"use strict";
(() => {
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
  // Names of trials at the heads of rows. Of each table one is in the order of the Tab key, so that a
  // thousand cost one stop; the arrows go on from there, and Enter picks.
  const named = "tbody th:first-child b[role=button]";
  for (const name of document.querySelectorAll("tbody th:first-child b")) {
    if (!/^t\d+$/.test(name.textContent)) continue;
    name.setAttribute("role", "button");
    name.tabIndex = -1;
  }
  const shownIn = (table) => [...table.querySelectorAll(named)].filter((name) => !name.closest("tr").hidden);
  const stopAt = (table, name = shownIn(table)[0]) => {
    for (const other of table.querySelectorAll(named + "[tabindex='0']")) other.tabIndex = -1;
    if (name) name.tabIndex = 0;
  };
  document.querySelectorAll("main table").forEach((table) => stopAt(table));

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
        stopAt(table);
      });
    });
  }

  // The field above the list of trials keeps the rows that hold every word typed.
  for (const field of document.querySelectorAll("input[data-table]")) {
    const table = document.getElementById(field.dataset.table);
    const count = document.getElementById(field.dataset.table + "-count");
    const rows = [...table.tBodies[0].rows];
    const texts = rows.map((row) => [...row.cells].map((c) => c.textContent).concat(row.querySelector("[data-status]")?.dataset.status || "").join(" ").toLowerCase());
    const whole = count.textContent;
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/,?(?:\s+|$)/).filter(Boolean);
      let kept = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        kept += !row.hidden;
      });
      stopAt(table);
      count.textContent = words.length ? kept.toLocaleString("en") + " of " + whole : whole;
    });
  }

  // A trial that is clicked, as a mark, a line or a row, is marked wherever it stands.
  const rowsOf = Object.create(null); // a study may be called "constructor"
  for (const name of document.querySelectorAll("tbody th:first-child b")) {
    (rowsOf[name.textContent] ||= []).push(name.closest("tr"));
  }
  const said = document.getElementById("picked");
  window.pickTrial = (trial) => {
    for (const old of document.querySelectorAll(".picked-trial")) old.classList.remove("picked-trial");
    const rows = rowsOf[trial] || [];
    for (const row of rows) row.classList.add("picked-trial");
    for (const mark of document.querySelectorAll(`[data-trial="${CSS.escape(trial)}"]`)) mark.classList.add("picked-trial");
    window.dispatchEvent(new CustomEvent("trialpicked", { detail: trial || null }));
    if (!said) return;
    said.textContent = "";
    const row = rows.find((each) => each.closest("#trials-table")) || rows[0];
    if (!row) return;
    const link = document.createElement("button");
    link.type = "button";
    link.textContent = "Show its row";
    link.addEventListener("click", () => {
      row.hidden = false;
      row.tabIndex = -1;
      row.scrollIntoView({ block: "center" });
      row.focus({ preventScroll: true });
    });
    const student = [...row.cells].map((cell) => cell.textContent).slice(0, 4);
    said.append(trial + " · " + student[3] + " · " + student[1] + " ", link);
  };
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-trial]");
    const row = event.target.closest("tbody tr");
    const name = row && row.querySelector("th:first-child b");
    if (mark) window.pickTrial(mark.dataset.trial);
    else if (name && getSelection().isCollapsed && !event.target.closest("button, a")) window.pickTrial(name.textContent);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches(named)) stopAt(event.target.closest("table"), event.target);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") window.pickTrial("");
    const name = event.target;
    if (!(name instanceof Element) || !name.matches(named) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") window.pickTrial(name.textContent);
    else {
      const names = shownIn(name.closest("table"));
      const at = names.indexOf(name);
      const next = names[{ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: names.length - 1 }[event.key]];
      if (!next) return;
      next.focus();
    }
    event.preventDefault(); // neither scrolls the page
  });

  // Tables are copied as they stand: rows that are shown, in their order, with what is read there.
  const words = (node) => {
    const parts = [...node.childNodes].map((child) => (child.nodeType === 3 ? child.textContent : child.classList.contains("meter") ? "" : words(child)));
    return parts.map((part) => part.replace(/\s+/g, " ").trim()).filter(Boolean).join(" ");
  };
  const headOf = (table) => {
    const rows = [...table.tHead.rows].map((row) => [...row.cells]);
    if (rows.length === 1) return rows[0].map(words);
    const second = rows[1].map(words); // under the groups of a table whose first column spans both
    const groups = rows[0].slice(1).flatMap((cell) => Array(cell.colSpan).fill(words(cell)));
    return [words(rows[0][0]), ...groups.map((group, i) => group + ", " + second[i])];
  };
  const written = {
    csv: (head, rows) => {
      // Numbers as programs read them: a plain minus, no separators of thousands, nothing for none.
      const plain = (cell) => (cell === "–" ? "" : /^[−+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?$/.test(cell) ? cell.replace("−", "-").replaceAll(",", "") : cell);
      const quoted = (cell) => (/[",\n]/.test(cell) ? '"' + cell.replaceAll('"', '""') + '"' : cell);
      return [head, ...rows].map((row) => row.map(plain).map(quoted).join(",")).join("\n") + "\n";
    },
    markdown: (head, rows) => {
      const line = (row) => "| " + row.map((cell) => cell.replace(/[\\|`*<>]/g, "\\$&")).join(" | ") + " |";
      return [line(head), line(head.map(() => "---")).replaceAll("\\", ""), ...rows.map(line)].join("\n") + "\n";
    },
    latex: (head, rows) => {
      const special = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "−": "$-$", "–": "--", "±": "$\\pm$", "×": "$\\times$", "‡": "\\ddag{}", "†": "\\dag{}", "§": "\\S{}", "¶": "\\P{}", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "≥": "$\\geq$", "≤": "$\\leq$", "→": "$\\rightarrow$", "µ": "$\\mu$", "²": "$^2$", "³": "$^3$", "α": "$\\alpha$", "β": "$\\beta$", "γ": "$\\gamma$", "δ": "$\\delta$", "ε": "$\\epsilon$", "λ": "$\\lambda$", "μ": "$\\mu$", "σ": "$\\sigma$", "τ": "$\\tau$", "Δ": "$\\Delta$" };
      const line = (row) => row.map((cell) => cell.replace(/[\\~^−–±×‡†§¶<>|≥≤→µ²³αβγδελμστΔ]|[&%$#_{}]/g, (c) => special[c] || "\\" + c)).join(" & ").replace(/^[[*]/, "{}$&") + " \\\\";
      const right = head.map((_, i) => i > 0 && rows.every((row) => /^[−+±\d.,\s–†x×%<>]*$/.test(row[i])));
      const kinds = right.map((number) => (number ? "r" : "l")).join("");
      return ["\\begin{tabular}{" + kinds + "}", "\\toprule", line(head), "\\midrule", ...rows.map(line), "\\bottomrule", "\\end{tabular}"].join("\n") + "\n";
    },
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea"); // where a file may not use the clipboard
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("not copied");
    }
  };
  // What a button's own words say is not read out, as it has a name; the line at the end is.
  const announced = document.getElementById("announced");
  for (const button of document.querySelectorAll("button[data-copy]")) {
    const name = button.textContent;
    button.addEventListener("click", async () => {
      const table = document.getElementById(button.dataset.copy);
      const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => [...row.cells].map(words));
      const text = written[button.dataset.format](headOf(table), rows);
      button.dataset.copied = text.length;
      button.textContent = await copy(text).then(() => "Copied", () => "Not allowed");
      announced.textContent = button.getAttribute("aria-label").replace("Copy", button.textContent === "Copied" ? "Copied" : "Not allowed to copy");
      setTimeout(() => { button.textContent = name; announced.textContent = ""; }, 1500);
    });
  }
})();
