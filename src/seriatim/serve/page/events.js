// A live stream of events through a WebSocket: the bits of each, and what is expected next.

import { post, remove, socket } from "./api.js";
import { attempt, say } from "./status.js";
import { number } from "./text.js";

const SHOWN = 200; // rows and bars

export function setUp(section) {
  const form = section.querySelector("form");
  const chart = section.querySelector(".chart");
  const table = section.querySelector("table");
  const body = table.querySelector("tbody");
  let isStopped = false;

  form.stop.addEventListener("click", () => (isStopped = true));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => run(form.events.value.split("\n").filter((line) => line !== "")));
  });

  async function run(events) {
    isStopped = false;
    form.stop.disabled = false;
    chart.replaceChildren();
    body.replaceChildren();
    const session = await post("/sessions", { model: form.model.value });
    const one = socket(`/sessions/${session.id}/events`);
    try {
      await new Promise((resolve, reject) => {
        one.onopen = resolve;
        one.onerror = () => reject(new Error("the server has not opened a WebSocket"));
      });
      for (const event of events) {
        if (isStopped) break;
        show(event, await answered(one, { elements: [event], top: 3 }));
        await new Promise((resolve) => setTimeout(resolve, Number(form.pause.value)));
      }
      say(`${body.rows.length} events, ${body.querySelectorAll(".anomaly").length} anomalies.`);
    } finally {
      form.stop.disabled = true;
      one.close();
      await remove(`/sessions/${session.id}`).catch(() => {});
    }
  }

  function answered(one, message) {
    return new Promise((resolve, reject) => {
      one.onmessage = ({ data }) => {
        const answer = JSON.parse(data);
        if (answer.error) reject(new Error(answer.error.message));
        else resolve(answer);
      };
      one.onclose = () => reject(new Error("the server has closed the WebSocket"));
      one.send(JSON.stringify(message));
    });
  }

  function show(event, answer) {
    const bits = answer.bits[0];
    const isAnomaly = answer.is_anomaly?.[0];
    table.hidden = false;
    const row = body.insertRow(0);
    const expected = answer.next.map((n) => `${n.symbol} ${(100 * n.probability).toFixed(0)} %`);
    const texts = [answer.num_pushed, event, number(bits), isAnomaly == null ? "–" : isAnomaly ? "anomaly" : "normal", expected.join(", ")];
    texts.forEach((text, i) => {
      const cell = row.insertCell();
      cell.textContent = text;
      if (i === 0 || i === 2) cell.className = "number";
      if (i === 3 && isAnomaly) cell.className = "anomaly";
    });
    const bar = document.createElement("span");
    bar.style.height = `${Math.min(100, (bits ?? 20) * 5)}%`;
    bar.className = isAnomaly ?? (bits ?? 20) > 10 ? "high" : "";
    bar.title = `${event}: ${number(bits)} bits`;
    chart.append(bar);
    while (body.rows.length > SHOWN) body.deleteRow(-1);
    while (chart.children.length > SHOWN) chart.firstElementChild.remove();
  }
}
