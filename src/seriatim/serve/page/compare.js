// Two models side by side on one text.

import { post } from "./api.js";
import { attempt, say } from "./status.js";
import { SymbolText, bitsClass, number } from "./text.js";

export function setUp(section, models) {
  const form = section.querySelector("form");
  const columns = section.querySelector(".columns");
  if (models.length > 1) form.second.value = models[1].id;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      const text = form.prompt.value;
      const names = [form.first.value, form.second.value];
      const found = await Promise.all(names.map((model) => read(model, text)));
      columns.replaceChildren(...found.map((one, i) => column(names[i], one, text)));
      const [a, b] = found.map((one) => one.total);
      const better = a < b ? names[0] : names[1];
      say(a === b ? "Both need the same bits." : `${better} needs ${number(Math.abs(a - b), 1)} bits less.`);
    });
  });
}

async function read(model, text) {
  const [surprisal, next] = await Promise.all([
    post("/surprisal", { model, texts: [text] }),
    post("/next", { model, prompt: text, top: 5 }),
  ]);
  const rows = surprisal.texts[0];
  return { rows, next: next.next, total: rows.reduce((sum, row) => sum + (row.bits ?? Infinity), 0) };
}

function column(name, { rows, next, total }, text) {
  const one = document.createElement("article");
  const title = document.createElement("h2");
  title.textContent = name;
  const shownText = document.createElement("div");
  shownText.className = "text";
  shownText.setAttribute("role", "group");
  shownText.setAttribute("aria-label", `The text as ${name} reads it`);
  one.append(title, shownText);
  const view = new SymbolText(shownText);
  const points = [...text];
  let at = 0;
  for (const row of rows) {
    const isEnd = row.end > points.length || row.start === row.end;
    const piece = points.slice(Math.min(at, row.start), row.end).join("");
    at = row.end;
    const label = `${row.text}, ${number(row.bits, 1)} bits`;
    view.add(piece, { label, isEnd, className: bitsClass(row.bits) });
  }
  const sum = document.createElement("p");
  sum.textContent = `${number(total, 1)} bits in all, ${number(total / Math.max(points.length, 1))} per character`;
  const list = document.createElement("p");
  list.className = "muted";
  list.textContent = `next: ${next.map((n) => `${n.symbol} ${(100 * n.probability).toFixed(0)} %`).join(", ")}`;
  one.append(sum, list);
  return one;
}
