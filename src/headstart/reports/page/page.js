
"use strict";
(() => {
  const root = document.documentElement;
  const find = (selector, within = document) => within.querySelector(selector);
  const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse(find("#data").textContent);
  root.classList.add("js");

  /** Return an element with properties and children; texts are set as text, so no name can become markup. */
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // ---- tables ----------------------------------------------------------------------------------------------------

  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  /** Return the sort key of a cell: a number, a text, or null if it is empty. */
  function sortKey(cell, isNumber) {
    const given = cell.dataset.value;
    if (!isNumber) return given ?? cell.textContent;
    if (given === undefined) return null;
    const number = Number(given);
    return Number.isFinite(number) ? number : given;
  }

  const rank = (key) => (key === null ? 2 : typeof key === "number" ? 0 : 1);

  /** Compare two keys: numbers before texts before null, in both directions. */
  function compareKeys(a, b, direction) {
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    if (a === null) return 0;
    return direction * (typeof a === "number" ? a - b : collator.compare(a, b));
  }

  function setUpSorting(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const keys = new Map();

    function keysOf(column) {
      if (!keys.has(column)) {
        const isNumber = heads[column].classList.contains("number");
        keys.set(column, new Map(original.map((row) => [row, sortKey(row.cells[column], isNumber)])));
      }
      return keys.get(column);
    }

    heads.forEach((head, column) => {
      find("button", head).addEventListener("click", () => {
        const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
        const order = next === undefined ? "ascending" : next;
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        if (order) {
          head.setAttribute("aria-sort", order);
          const keyOf = keysOf(column);
          const direction = order === "ascending" ? 1 : -1;
          body.append(...[...body.rows].sort((a, b) => compareKeys(keyOf.get(a), keyOf.get(b), direction)));
        } else {
          body.append(...original);
        }
      });
    });
  }

  function setUpFilter(table, controls) {
    const rows = [...table.tBodies[0].rows];
    const box = find("input", controls);
    const menus = findAll("select", controls);
    const clear = find(".clear", controls);
    const count = find("output", controls);
    const texts = new Map(rows.map((row) => [row, [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase()]));

    function apply() {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = menus.filter((menu) => menu.selectedIndex > 0);
      let shown = 0;
      for (const row of rows) {
        const fits =
          words.every((word) => texts.get(row).includes(word)) &&
          chosen.every((menu) => row.cells[menu.dataset.column].textContent === menu.options[menu.selectedIndex].textContent);
        row.hidden = !fits;
        shown += fits;
      }
      const active = words.length > 0 || chosen.length > 0;
      clear.hidden = !active;
      count.textContent = active ? `${shown} of ${rows.length} rows` : `${rows.length} rows`;
    }

    box.addEventListener("input", apply);
    menus.forEach((menu) => menu.addEventListener("change", apply));
    clear.addEventListener("click", () => {
      box.value = "";
      menus.forEach((menu) => (menu.selectedIndex = 0));
      apply();
      box.focus();
    });
    apply(); // browsers keep typed text when a page is reloaded
  }

  // ---- the panel of runs -------------------------------------------------------------------------------------------

  const panel = find("#panel");
  const OPEN_RUNS = 3; // up to this many runs are listed open

  async function copy(value, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      done = copySelected(value);
    }
    const label = button.dataset.label ?? (button.dataset.label = button.textContent);
    button.textContent = done ? "Copied" : "Not allowed";
    setTimeout(() => (button.textContent = label), 1500);
  }

  /** Copy in the old way, for browsers that deny the clipboard to pages opened from files. */
  function copySelected(value) {
    const area = make("textarea", { value, readOnly: true });
    const before = document.activeElement;
    panel.append(area); // outside an open dialog nothing can be selected
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }

  function copyButton(value, what) {
    const button = make("button", { type: "button", className: "copy", "aria-label": `Copy ${what}` }, "Copy");
    button.setAttribute("aria-live", "polite");
    button.addEventListener("click", () => copy(value, button));
    return button;
  }

  function withCopy(value, what) {
    return make("div", { className: "with-copy" }, make("pre", { className: "command" }, value), copyButton(value, what));
  }

  function pairs(items) {
    const list = make("dl", { className: "facts" });
    for (const [name, value] of items) list.append(make("dt", {}, name), make("dd", {}, value));
    return list;
  }

  const configOf = (run) => run.config.map((block) => data.blocks[block]).join("");

  /** The number of runs that have a line below its top-level key; computed at the first use. */
  let lineCounts = null;
  const lineKey = (block, line) => JSON.stringify([block.split("\n", 1)[0].split(":", 1)[0], line]);
  function countLines() {
    if (lineCounts) return lineCounts;
    const uses = new Array(data.blocks.length).fill(0);
    for (const run of data.runs) for (const block of run.config) uses[block] += 1;
    lineCounts = new Map();
    data.blocks.forEach((block, number) => {
      for (const key of new Set(block.split("\n").map((line) => lineKey(block, line)))) {
        lineCounts.set(key, (lineCounts.get(key) ?? 0) + uses[number]);
      }
    });
    return lineCounts;
  }

  /** Return the config; lines that some runs lack are marked. */
  function markedConfig(run) {
    const counts = countLines();
    const shown = make("pre", { tabIndex: 0 });
    for (const number of run.config) {
      const block = data.blocks[number];
      for (const line of block.split(/(?<=\n)/)) {
        const bare = line.replace(/\n$/, "");
        const differs = counts.get(lineKey(block, bare)) < data.runs.length;
        shown.append(differs ? make("mark", {}, bare) : bare, line.slice(bare.length));
      }
    }
    return shown;
  }

  function fillRun(run, number) {
    const row = make("a", { href: `#run-${number}` }, "Show it in the table of runs");
    row.addEventListener("click", () => panel.close());
    const body = make("div", { className: "run-body" });
    const columns = make("div", { className: "columns" });
    if (run.facts.length) columns.append(make("div", {}, make("h4", {}, "Facts"), pairs(run.facts)));
    if (run.metrics.length) columns.append(make("div", {}, make("h4", {}, "Metrics"), pairs(run.metrics)));
    body.append(columns);
    if (run.repeat) body.append(make("h4", {}, "Repeat it from its directory"), withCopy(run.repeat, "the command that repeats the run"));
    if (run.train) body.append(make("h4", {}, "Train it from its settings"), withCopy(run.train, "the command that trains the run"));
    body.append(make("h4", {}, "Directory"), withCopy(run.directory, "the directory"));
    if (run.config.length) {
      const config = make("details", {}, make("summary", {}, "Config"));
      config.addEventListener("toggle", () => {
        if (config.childElementCount > 1) return;
        const hint = data.runs.length > 1 ? "Marked lines differ between runs." : "The whole config.";
        config.append(
          make("div", { className: "again" }, hint, copyButton(configOf(run), "the config")),
          markedConfig(run),
        );
      });
      body.append(config);
    }
    body.append(make("p", {}, row));
    return body;
  }

  /** Return the names of the facts that differ between the listed runs. */
  function differingFacts(listed) {
    const values = new Map();
    for (const run of listed) {
      for (const [name, value] of run.facts) values.set(name, (values.get(name) ?? new Set()).add(value));
    }
    return new Set([...values.keys()].filter((name) => values.get(name).size > 1));
  }

  /** Return the facts of a run that differ from other runs, then its first test metric. */
  function shortDescription(run, differing) {
    const test = run.metrics.find(([name]) => name.startsWith("test")) ?? run.metrics[0];
    const shown = run.facts.filter(([name]) => differing.has(name)).slice(0, 3).concat(test ? [test] : []);
    return shown.map(([name, value]) => `${name} ${value}`).join(" · ");
  }

  function showRuns(numbers, context) {
    const listed = numbers.map((number) => data.runs[number]);
    const differing = differingFacts(listed);
    find("#panel-title").textContent = listed.length === 1 ? listed[0].name : `${listed.length} runs`;
    find("#panel-context").textContent = context;
    const body = find("#panel-body");
    body.replaceChildren();
    if (listed.length > 1) {
      const commands = listed.map((run) => run.repeat || run.train).filter(Boolean);
      if (commands.length > 1) {
        const all = make("button", { type: "button", className: "copy-all" }, `Copy all ${commands.length} commands`);
        all.addEventListener("click", () => copy(commands.join("\n"), all));
        body.append(make("div", { className: "again" }, "Repeat all of them, one after another:", all));
      }
    }
    listed.forEach((run, i) => {
      if (listed.length === 1) {
        body.append(fillRun(run, numbers[i]));
        return;
      }
      const one = make("details", { className: "run" }, make("summary", {}, run.name, make("span", {}, shortDescription(run, differing))));
      const fill = () => one.childElementCount === 1 && one.append(fillRun(run, numbers[i]));
      one.addEventListener("toggle", fill);
      if (listed.length <= OPEN_RUNS) {
        fill();
        one.open = true;
      }
      body.append(one);
    });
    panel.showModal();
    panel.scrollTop = 0;
    find("#panel-title").focus();
  }

  /** Return the context of a clicked cell: the table, the row's texts, the column and its value. */
  function contextOf(link) {
    const cell = link.closest("td, th");
    const table = link.closest("table");
    const heads = [...table.tHead.rows[0].cells];
    const title = document.getElementById(table.getAttribute("aria-labelledby")).textContent;
    if (cell.cellIndex === 0) return title;
    const column = find("button", heads[cell.cellIndex]).textContent;
    const row = [...cell.parentElement.cells].filter((other, i) => other !== cell && heads[i].classList.contains("text"));
    const texts = row.map((other) => other.textContent).filter((value) => value && value !== "–");
    return `${title}: ${[...texts.slice(0, 4), `${column} ${cell.textContent}`].join(" · ")}`;
  }

  function setUpPanel() {
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-runs]");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      showRuns(link.dataset.runs.split(",").map(Number), contextOf(link));
    });
    find("#panel-close").addEventListener("click", () => panel.close());
    panel.addEventListener("click", (event) => {
      if (event.target === panel && event.clientX < panel.getBoundingClientRect().left) panel.close();
    });
  }

  // ---- charts ------------------------------------------------------------------------------------------------------

  const KIND_NAMES = { train: "training", validation: "validation", test: "test" };
  const MANY_LINES = 22; // more do not fit into one hover box
  const FEW_POINTS = 12; // up to this many points get markers
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const isDark = () => dark.matches && !root.classList.contains("printing");
  const variable = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const escaped = (value) => value.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  /** Return the relative luminance of a colour given by its channels, 0 to 255 (WCAG 2.2). */
  function luminance(channels) {
    const [r, g, b] = channels.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }

  /** Return the colour; on a dark page (luminance 0.008), mixed with white until its contrast is 4.5. */
  function legible(colour) {
    const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour);
    if (!parts || !isDark()) return colour;
    let channels = parts.slice(1).map((part) => parseInt(part, 16));
    while ((luminance(channels) + 0.05) / 0.058 < 4.5) channels = channels.map((c) => Math.min(255, c + (255 - c) * 0.08 + 1));
    return `#${channels.map((c) => Math.round(c).toString(16).padStart(2, "0")).join("")}`;
  }

  function rgba(colour, alpha) {
    const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour);
    return parts ? `rgba(${parts.slice(1).map((part) => parseInt(part, 16)).join(",")},${alpha})` : "rgba(128,128,128,0.15)";
  }

  /** Return the decimals for the values of a chart: three digits of their range. */
  function decimalsOf(series) {
    const values = series.flatMap((one) => one.y).filter((y) => y !== null);
    const range = Math.max(...values) - Math.min(...values) || Math.abs(values[0]) || 1;
    return Number.isFinite(range) ? Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(range)))) : 2;
  }

  const hasBand = (series, i) => series.low.length > 0 && series.low[i] !== null && series.high[i] !== null;

  /** Return a value with its band, as text. */
  function valueText(series, i, decimals) {
    if (series.y[i] === null) return "";
    const value = series.y[i].toFixed(decimals);
    return hasBand(series, i) ? `${value} (${series.low[i].toFixed(decimals)} to ${series.high[i].toFixed(decimals)})` : value;
  }

  function bandTrace(series, colour, visible) {
    const places = series.x.map((_, i) => i).filter((i) => hasBand(series, i));
    return {
      x: [...places.map((i) => series.x[i]), ...places.slice().reverse().map((i) => series.x[i])],
      y: [...places.map((i) => series.high[i]), ...places.slice().reverse().map((i) => series.low[i])],
      fill: "toself", fillcolor: rgba(colour, isDark() ? 0.2 : 0.14), line: { width: 0 }, mode: "lines", hoverinfo: "skip", visible,
    };
  }

  function lineTrace(series, colour, name, decimals, visible, background) {
    const isTraining = series.kind === "train";
    const trace = {
      x: series.x, y: series.y, name: escaped(name), visible, // plotly reads names and texts as markup
      mode: series.x.length <= FEW_POINTS && !isTraining ? "lines+markers" : "lines",
      line: { color: colour, width: isTraining ? 1.5 : 2.2, dash: series.dash },
      marker: { color: colour, symbol: series.symbol, size: 7, line: { color: background, width: 1 } },
      text: series.x.map((_, i) => `${escaped(name)}: ${valueText(series, i, decimals)}`), hovertemplate: "%{text}<extra></extra>",
    };
    if (series.x.length === 1 && hasBand(series, 0)) {
      trace.error_y = { type: "data", symmetric: false, array: [series.high[0] - series.y[0]], arrayminus: [series.y[0] - series.low[0]], color: colour };
    }
    return trace;
  }

  function layoutOf(chart, lines) {
    const [ink, muted, rule, paper] = ["--ink", "--muted", "--rule", "--paper"].map(variable);
    const axis = { gridcolor: rule, linecolor: muted, tickcolor: muted, zeroline: false, tickfont: { color: muted }, automargin: true };
    const title = (text) => ({ text: escaped(text), standoff: 10, font: { size: 14 } });
    const ticks = [...new Set(chart.series.flatMap((series) => series.x))].sort((a, b) => a - b);
    const x = { ...axis, title: title(chart.x_title), showgrid: false, ticks: "outside", showline: true,
      spikecolor: muted, spikethickness: 1, spikedash: "dot", unifiedhovertitle: { text: `${escaped(chart.x_title)} %{x}` } };
    const y = { ...axis, title: title(chart.y_title), ...(chart.percent && { minallowed: 0, maxallowed: 100 }) };
    // few whole numbers, such as epochs, get one tick each: plotly would write 0.5 between them
    if (!chart.log_x && ticks.length <= FEW_POINTS && ticks.every(Number.isInteger)) Object.assign(x, { tickvals: ticks });
    if (chart.log_x) Object.assign(x, { type: "log" }, ticks.length <= FEW_POINTS && { tickvals: ticks, ticktext: ticks.map(String), minor: { ticks: "" } });
    return {
      paper_bgcolor: paper, plot_bgcolor: paper, font: { family: variable("--sans"), size: 13, color: ink },
      margin: { l: 60, r: 16, t: 30, b: 52 }, showlegend: false, uirevision: "kept", dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hovermode: lines > MANY_LINES ? "closest" : "x unified", hoversort: "value descending",
      hoverlabel: { bgcolor: variable("--raised"), bordercolor: variable("--rule-strong"), font: { color: ink, size: 12.5 }, namelength: -1, align: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
      xaxis: x, yaxis: y,
      autosize: !root.classList.contains("printing"), ...(root.classList.contains("printing") && { width: 680 }), height: 432,
    };
  }

  /** One chart: its drawing and its switches, which are buttons so that a keyboard reaches them. */
  class DrawnChart {
    constructor(chart, figure) {
      this.chart = chart;
      this.labels = [...new Set(chart.series.map((series) => series.label))];
      this.kinds = Object.keys(KIND_NAMES).filter((kind) => chart.series.some((series) => series.kind === kind));
      this.off = new Set();
      this.hiddenKinds = new Set();
      this.bands = true;
      this.decimals = decimalsOf(chart.series);
      this.plot = make("div", { className: "plot" });
      this.legend = make("div", { className: "legend", role: "group" });
      this.legend.setAttribute("aria-label", "Lines shown");
      figure.append(this.plot, this.legend, this.numbers());
      this.buttons = this.labels.map((label) => this.button(label));
      this.legend.append(...this.buttons, this.switches());
    }

    button(label) {
      const button = make("button", { type: "button" }, this.swatch(), label);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        if (!this.off.delete(label)) this.off.add(label);
        this.draw();
      });
      button.addEventListener("dblclick", () => {
        const alone = this.labels.every((other) => this.off.has(other) === (other !== label));
        this.off = new Set(alone ? [] : this.labels.filter((other) => other !== label));
        this.draw();
      });
      return button;
    }

    swatch() {
      const space = "http://www.w3.org/2000/svg";
      const svg = document.createElementNS(space, "svg");
      const line = document.createElementNS(space, "line");
      for (const [name, value] of [["width", 26], ["height", 10], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
      for (const [name, value] of [["x1", 0], ["x2", 26], ["y1", 5], ["y2", 5], ["stroke-width", 3]]) line.setAttribute(name, value);
      svg.append(line);
      return svg;
    }

    switches() {
      const box = (text, change) => {
        const input = make("input", { type: "checkbox", checked: true });
        input.addEventListener("change", () => {
          change(input.checked);
          this.draw();
        });
        return make("label", {}, input, text);
      };
      const all = make("span", { className: "kinds" });
      if (this.kinds.length > 1) {
        for (const kind of this.kinds) {
          const text = kind === "train" ? "training (dotted)" : KIND_NAMES[kind];
          all.append(box(text, (on) => (on ? this.hiddenKinds.delete(kind) : this.hiddenKinds.add(kind))));
        }
      }
      if (this.chart.series.some((series) => series.low.length)) all.append(box("bands", (on) => (this.bands = on)));
      return all;
    }

    name(series) {
      return this.kinds.length > 1 ? `${series.label}, ${KIND_NAMES[series.kind]}` : series.label;
    }

    /** Return the same numbers as a table, for readers who cannot see the lines; filled when opened. */
    numbers() {
      const details = make("details", { className: "numbers" }, make("summary", {}, "The numbers of this chart"));
      details.addEventListener("toggle", () => {
        if (details.childElementCount > 1) return;
        const titles = ["line", this.chart.x_title, this.chart.y_title];
        const head = make("tr", {}, ...titles.map((text, i) => make("th", { scope: "col", className: i ? "number" : "text" }, text)));
        const body = make("tbody");
        for (const series of this.chart.series) {
          series.x.forEach((x, i) => {
            if (series.y[i] === null) return;
            const cells = [String(x), valueText(series, i, this.decimals)].map((text) => make("td", { className: "number" }, text));
            body.append(make("tr", {}, make("th", { scope: "row" }, this.name(series)), ...cells));
          });
        }
        const table = make("table", { className: "data plain" }, make("thead", {}, head), body);
        details.append(make("div", { className: "scroll", tabIndex: 0 }, table));
      });
      return details;
    }

    shown(series) {
      return !this.off.has(series.label) && !this.hiddenKinds.has(series.kind);
    }

    draw() {
      const bands = [];
      const lines = [];
      for (const series of this.chart.series) {
        const colour = legible(series.colour);
        if (series.low.length && series.x.length > 1) bands.push(bandTrace(series, colour, this.bands && this.shown(series)));
        lines.push(lineTrace(series, colour, this.name(series), this.decimals, this.shown(series), variable("--paper")));
      }
      this.buttons.forEach((button, i) => {
        const label = this.labels[i];
        const own = this.chart.series.filter((series) => series.label === label);
        const series = own.find((one) => one.kind !== "train") ?? own[0];
        button.setAttribute("aria-pressed", String(!this.off.has(label)));
        find("line", button).style.stroke = legible(series.colour);
        find("line", button).style.strokeDasharray = series.dash === "solid" ? "" : series.dash === "dot" ? "2 3" : series.dash;
      });
      const config = {
        responsive: true, displaylogo: false, modeBarButtons: [["toImage", "resetScale2d"]],
        toImageButtonOptions: { filename: this.chart.id, scale: 2 },
      };
      this.drawn = true;
      return Plotly.react(this.plot, [...bands, ...lines], layoutOf(this.chart, lines.filter((line) => line.visible).length), config);
    }
  }

  /** Draw charts when they come near the window, and all of them for paper. */
  function setUpCharts() {
    const figures = findAll("figure.chart");
    const charts = data.charts.map((chart, i) => new DrawnChart(chart, figures[i]));
    const near = new IntersectionObserver(
      (entries) => {
        for (const entry of entries.filter((one) => one.isIntersecting)) {
          near.unobserve(entry.target);
          const chart = charts[figures.indexOf(entry.target)];
          if (!chart.drawn) chart.draw();
        }
      },
      { rootMargin: "800px" },
    );
    figures.forEach((figure) => near.observe(figure));
    dark.addEventListener("change", () => charts.filter((chart) => chart.drawn).forEach((chart) => chart.draw()));
    for (const [event, on] of [["beforeprint", true], ["afterprint", false]]) {
      addEventListener(event, () => {
        root.classList.toggle("printing", on);
        charts.filter((chart) => on || chart.drawn).forEach((chart) => chart.draw());
      });
    }
  }

  /** Unfold notes and column help for paper. */
  function setUpPrinting() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = findAll(".notes details:not([open]), .help:not([open])");
      opened.forEach((details) => (details.open = true));
    });
    addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));
  }

  // ---- contents ----------------------------------------------------------------------------------------------------

  /** Fold the list of contents in a narrow window, also after a click on a section. */
  function setUpFolding() {
    const narrow = matchMedia("(max-width: 62rem)"); // as in page.css
    const details = find("nav details");
    const fit = () => (details.open = !narrow.matches);
    narrow.addEventListener("change", fit);
    details.addEventListener("click", (event) => {
      if (narrow.matches && event.target.closest("a")) details.open = false;
    });
    fit();
  }

  /** Mark the current section in the list of contents: the last one that starts in the upper third of the window. */
  function setUpContents() {
    const links = findAll("nav a");
    const targets = links.map((link) => document.getElementById(link.getAttribute("href").slice(1)));
    let waiting = false;
    const update = () => {
      waiting = false;
      let current = 0;
      targets.forEach((target, i) => {
        if (target.getBoundingClientRect().top < innerHeight / 3) current = i;
      });
      if (scrollY < 8) current = 0;
      if (innerHeight + scrollY >= root.scrollHeight - 4 && scrollY > 0) current = links.length - 1;
      links.forEach((link, i) => (i === current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current")));
    };
    const later = () => {
      if (!waiting) requestAnimationFrame(update);
      waiting = true;
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    if (links.length) update();
  }

  for (const table of findAll("table.data")) {
    setUpSorting(table);
    const controls = find(".controls", table.closest("article"));
    if (controls) setUpFilter(table, controls);
  }
  setUpPanel();
  setUpFolding();
  setUpContents();
  setUpPrinting();
  if (data.charts.length) document.addEventListener("DOMContentLoaded", setUpCharts); // plotly's script follows this one
})();
