// Translation with its alignment.

import { post } from "./api.js";
import { attempt, say } from "./status.js";
import { number } from "./text.js";

export function setUp(section) {
  const form = section.querySelector("form");
  const result = section.querySelector(".result");
  const map = section.querySelector(".map");
  const summary = section.querySelector(".summary");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      say("Translating…");
      const body = { model: form.model.value, texts: [form.source.value], beam: Number(form.beam.value) };
      const best = await withAlignment(body);
      result.textContent = best.text;
      map.replaceChildren(...(best.alignment ? [table(best.alignment)] : []));
      summary.textContent = `ln p = ${number(best.log_prob)}${best.is_ended ? "" : ", cut at the maximum length"}`;
      say("Done.");
    });
  });
}

async function withAlignment(body) {
  try {
    return (await post("/translate", { ...body, alignment: true })).translations[0];
  } catch (error) {
    if (error.status !== 400) throw error;
    return (await post("/translate", body)).translations[0]; // a model without attention
  }
}

function table({ source, target, weights }) {
  const made = document.createElement("table");
  made.className = "alignment";
  const caption = made.createCaption();
  caption.textContent = "Where each symbol of the translation looks in the source, in percent";
  const head = made.createTHead().insertRow();
  head.append(cell("th", ""));
  for (const name of source) head.append(cell("th", name, "col"));
  const body = made.createTBody();
  weights.forEach((row, i) => {
    const line = body.insertRow();
    line.append(cell("th", target[i], "row"));
    for (const weight of row) {
      const one = cell("td", weight < 0.005 ? "" : String(Math.round(100 * weight)));
      one.style.backgroundColor = `color-mix(in srgb, var(--blue) ${Math.round(60 * weight)}%, transparent)`;
      line.append(one);
    }
  });
  return made;
}

function cell(kind, text, scope) {
  const one = document.createElement(kind);
  one.textContent = text;
  if (scope) one.scope = scope;
  return one;
}
