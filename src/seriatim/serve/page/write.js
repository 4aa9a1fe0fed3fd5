// Write, and watch a model continue: surprisal as colour, alternatives on click.

import { completion } from "./api.js";
import { attempt, say } from "./status.js";
import { SymbolText, bitsClass, number, shown } from "./text.js";

export function setUp(section, models) {
  const form = section.querySelector("form");
  const alternatives = section.querySelector(".alternatives");
  const summary = section.querySelector(".summary");
  let symbols = [];
  let running = null;
  const view = new SymbolText(section.querySelector(".text"), showAlternatives);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => run(form.prompt.value));
  });
  form.stop.addEventListener("click", () => running?.abort());

  async function run(prompt) {
    running?.abort();
    const own = (running = new AbortController());
    view.clear();
    symbols = [];
    alternatives.hidden = true;
    summary.textContent = "";
    form.stop.disabled = false;
    say("The model writes…");
    const body = {
      model: form.model.value, prompt, echo: true, logprobs: 10, max_tokens: Number(form.length.value),
      temperature: Number(form.temperature.value), seed: Number(form.seed.value),
    };
    const points = [];
    let pending = [];
    let length = null;
    try {
      for await (const chunk of completion(body, own.signal)) {
        const choice = chunk.choices[0];
        points.push(...choice.text);
        length ??= [...prompt].length;
        const found = choice.logprobs;
        found.tokens.forEach((token, i) => pending.push({
          token, at: found.text_offset[i], logProb: found.token_logprobs[i], top: found.top_logprobs[i],
        }));
        const isDone = choice.finish_reason != null;
        while (pending.length > (isDone ? 0 : 1)) {
          const one = pending.shift();
          const end = pending.length ? pending[0].at : points.length;
          show({ ...one, text: points.slice(one.at, end).join("") }, one.at >= length);
        }
      }
    } finally {
      if (running === own) form.stop.disabled = true;
    }
    const scored = symbols.filter((one) => one.bits != null);
    const bits = scored.reduce((sum, one) => sum + one.bits, 0);
    summary.textContent = `${symbols.length} symbols, ${number(bits / scored.length)} bits each`;
    say(`Done: ${summary.textContent}.`);
  }

  function show(one, isDrawn) {
    const bits = one.logProb == null ? null : -one.logProb / Math.LN2;
    const isEnd = isDrawn && one.text === "";
    symbols.push({ ...one, bits });
    const label = `${isEnd ? "end" : shown(one.text || one.token)}, ${number(bits, 1)} bits`;
    view.add(one.text, { label, isEnd, className: bitsClass(bits) + (isDrawn ? " drawn" : "") });
  }

  function showAlternatives(index) {
    const one = symbols[index];
    alternatives.replaceChildren();
    alternatives.hidden = false;
    const title = document.createElement("span");
    title.textContent = one.top ? `In place of “${shown(one.text || one.token)}”:` : "Nothing was predicted here.";
    alternatives.append(title);
    const isWord = models.find((m) => m.id === form.model.value)?.symbols === "word";
    const before = symbols.slice(0, index).map((s) => s.text).join("");
    for (const [text, logProb] of Object.entries(one.top ?? {}).sort((a, b) => b[1] - a[1])) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = shown(text);
      button.disabled = text.startsWith("token_id:");
      const small = document.createElement("small");
      small.textContent = `${(100 * Math.exp(logProb)).toFixed(1)} %`;
      button.append(small);
      button.addEventListener("click", () => {
        form.prompt.value = before + (isWord && before && text !== "\n" ? " " : "") + text;
        attempt(() => run(form.prompt.value));
      });
      alternatives.append(button);
    }
    say(`${alternatives.querySelectorAll("button").length} alternatives.`);
  }
}
