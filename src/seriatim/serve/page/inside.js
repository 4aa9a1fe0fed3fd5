// Gates, states and attention over a text: one number of each symbol as its colour, all as a map.

import { post } from "./api.js";
import { attempt, say } from "./status.js";
import { SymbolText, number } from "./text.js";

export function setUp(section, models) {
  const [form, choice] = section.querySelectorAll("form");
  const canvas = section.querySelector("canvas");
  const summary = section.querySelector(".summary");
  const legend = section.querySelector(".legend");
  const partName = section.querySelector(".part-name");
  let read = null;
  let values = null;
  let position = 0;
  const view = new SymbolText(section.querySelector(".text"), move, () => {});

  const body = () => {
    const isPair = models.find((m) => m.id === form.model.value)?.task === "translation";
    const text = form.prompt.value;
    return isPair ? { model: form.model.value, source: text, text: "" } : { model: form.model.value, text };
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      read = await post("/trace", { ...body(), top: 0 });
      position = read.inputs.length - 1;
      const names = Object.keys(read.taps);
      choice.tap.replaceChildren(...names.map((name) => new Option(name)));
      const first = names.find((n) => n.includes("forget") || n.includes("attention")) ?? names[0];
      if (!first) {
        choice.hidden = true;
        say("This model shows nothing of its inside.");
        return;
      }
      choice.tap.value = first;
      choice.hidden = false;
      await load();
    });
  });
  choice.tap.addEventListener("change", () => attempt(load));
  choice.part.addEventListener("change", draw);
  choice.addEventListener("submit", (event) => event.preventDefault());

  async function load() {
    const name = choice.tap.value;
    const found = await post("/trace", { ...body(), top: 0, only: [name] });
    values = found.taps[name].values;
    const shape = found.taps[name].shape;
    const isMap = name.includes("attention");
    const parts = isMap ? shape[0] : shape.length > 1 ? shape[1] : 0;
    partName.textContent = isMap ? "Head" : "Unit";
    const options = [new Option("mean", "mean")];
    for (let i = 0; i < parts; i++) options.push(new Option(`${i}`, `${i}`));
    choice.part.replaceChildren(...options);
    choice.part.disabled = parts === 0;
    draw();
    say(`${name}: ${shape.join(" × ")} numbers. Choose a symbol to see its row.`);
  }

  const mean = (row) => row.reduce((sum, x) => sum + x, 0) / Math.max(row.length, 1);

  // (rows, columns) of what is drawn: a map of attention, or units over time.
  function matrix() {
    const part = choice.part.value;
    if (choice.tap.value.includes("attention")) {
      if (part !== "mean") return values[Number(part)];
      return values[0].map((row, t) => row.map((_, s) => mean(values.map((head) => head[t][s]))));
    }
    return values.map((row) => (Array.isArray(row) ? row : [row]));
  }

  function move(index) {
    position = index;
    draw();
  }

  function draw() {
    if (!values) return;
    const isMap = choice.tap.value.includes("attention");
    const isCross = isMap && choice.tap.value.includes("cross");
    const rows = matrix();
    const names = isCross ? read.source : read.inputs;
    const part = choice.part.value;
    const own = isMap
      ? rows[Math.min(position, rows.length - 1)]
      : rows.map((row) => (part === "mean" ? mean(row) : row[Number(part)]));
    const low = isMap ? 0 : Math.min(...own);
    const high = Math.max(...own, low + 1e-9);
    const focused = view.root.contains(document.activeElement) ? position : -1;
    view.clear();
    names.forEach((name, i) => {
      const value = own[i];
      const label = `${name}, ${number(value, 3)}`;
      const one = view.add(name.replace(/^␣$/, " "), { label });
      const share = value == null ? 0 : (value - low) / (high - low);
      one.style.backgroundColor = `color-mix(in srgb, var(--blue) ${Math.round(55 * share)}%, transparent)`;
      if (isMap && !isCross && i === position) one.setAttribute("aria-pressed", "true");
    });
    if (focused >= 0) view.elements[focused]?.focus();
    legend.hidden = false;
    legend.textContent = isMap
      ? `What is read where “${read.inputs[Math.min(position, rows.length - 1)]}” has been seen: from ${number(low, 3)} to ${number(high, 3)}`
      : `Colour: ${choice.tap.value} after each symbol, from ${number(low, 3)} to ${number(high, 3)}`;
    paint(isMap ? rows : transposed(rows));
    summary.textContent = isMap
      ? "Map: a row for each symbol that was predicted, a column for each that was read."
      : "Map: a row for each unit, a column for each symbol.";
  }

  const transposed = (rows) => rows[0].map((_, j) => rows.map((row) => row[j]));

  function paint(rows) {
    const [height, width] = [rows.length, rows[0].length];
    const scale = Math.max(1, Math.min(12, Math.floor(640 / Math.max(height, width))));
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.hidden = false;
    canvas.setAttribute("aria-label", `${choice.tap.value}: ${height} rows, ${width} columns`);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const style = getComputedStyle(document.documentElement);
    const [blue, hot] = [style.getPropertyValue("--blue"), style.getPropertyValue("--hot")];
    const most = Math.max(1e-9, ...rows.flat().map(Math.abs));
    rows.forEach((row, i) => row.forEach((value, j) => {
      context.globalAlpha = Math.abs(value) / most;
      context.fillStyle = value < 0 ? hot : blue;
      context.fillRect(j * scale, i * scale, scale, scale);
    }));
  }
}
