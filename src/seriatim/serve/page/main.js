// The page: which models there are, and the tabs that can do something with them.

import { get, setKey } from "./api.js";
import * as compare from "./compare.js";
import * as events from "./events.js";
import * as inside from "./inside.js";
import { attempt } from "./status.js";
import * as translate from "./translate.js";
import * as write from "./write.js";

const PARTS = {
  write: { part: write, fits: (m) => m.task === "language" },
  compare: { part: compare, fits: (m) => m.task === "language", least: 2 },
  inside: { part: inside, fits: (m) => m.task !== "labelling" },
  translate: { part: translate, fits: (m) => m.task === "translation" },
  events: { part: events, fits: (m) => m.task === "language" },
};

const tabs = [...document.querySelectorAll('[role="tab"]')];
const usable = () => tabs.filter((tab) => !tab.hidden);

function select(tab) {
  for (const other of tabs) {
    const isOn = other === tab;
    other.setAttribute("aria-selected", String(isOn));
    other.tabIndex = isOn ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !isOn;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const all = usable();
    const at = all.indexOf(tab);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    select(next);
    next.focus();
  });
}

async function begin() {
  const { data } = await get("/v1/models");
  document.getElementById("key-form").hidden = true;
  document.getElementById("models").textContent = data.map((m) => m.id).join(", ");
  document.getElementById("described").replaceChildren(...data.map((m) => {
    const one = document.createElement("li");
    one.textContent = `${m.id}: ${m.description}`;
    return one;
  }));
  for (const [name, { part, fits, least = 1 }] of Object.entries(PARTS)) {
    const fitting = data.filter(fits);
    const section = document.getElementById(name);
    document.getElementById(`tab-${name}`).hidden = fitting.length < least;
    for (const choice of section.querySelectorAll('select[name="model"], select[name="first"], select[name="second"]')) {
      choice.replaceChildren(...fitting.map((m) => new Option(m.id)));
    }
    if (fitting.length >= least && !section.dataset.ready) {
      section.dataset.ready = "yes";
      part.setUp(section, fitting);
    }
  }
  const open = usable();
  if (!open.some((tab) => tab.getAttribute("aria-selected") === "true") && open.length) select(open[0]);
}

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey(document.getElementById("key").value);
  attempt(begin);
});

attempt(begin);
