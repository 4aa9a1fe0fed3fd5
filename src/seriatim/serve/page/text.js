// A text of symbols, each with a colour and a sentence about it; one of them is in the tab order,
// arrow keys move between them.

export const bitsClass = (bits) => `b${bits == null ? 0 : Math.max(0, Math.min(8, Math.round(bits)))}`;
export const shown = (text) => text.replace(/\n/g, "\\n").replace(/ /g, "␣");
export const number = (x, digits = 2) => (x == null ? "–" : x.toFixed(digits));

export class SymbolText {
  constructor(root, onChoose = () => {}, onMove = () => {}) {
    this.root = root;
    this.onChoose = onChoose;
    this.onMove = onMove;
    root.addEventListener("click", (event) => this.#choose(event.target.closest(".symbol")));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", (event) => this.#move(event.target.closest(".symbol")));
  }

  clear() {
    this.root.replaceChildren();
  }

  get elements() {
    return this.root.querySelectorAll(".symbol");
  }

  add(text, { label, className = "", isEnd = false }) {
    const one = document.createElement("span");
    one.className = `symbol ${className}`;
    one.setAttribute("role", "button");
    one.setAttribute("aria-label", label);
    one.title = label;
    one.tabIndex = this.root.firstElementChild ? -1 : 0;
    if (isEnd || text === "") {
      const mark = document.createElement("span");
      mark.className = "end";
      mark.textContent = isEnd ? "■" : "·";
      one.append(mark);
    } else if (text.includes("\n")) {
      one.textContent = text.replace(/\n/g, "↵\n");
    } else {
      one.textContent = text;
    }
    this.root.append(one);
    return one;
  }

  #index(one) {
    return [...this.elements].indexOf(one);
  }

  #choose(one) {
    if (!one) return;
    for (const other of this.root.querySelectorAll("[aria-pressed]")) other.removeAttribute("aria-pressed");
    one.setAttribute("aria-pressed", "true");
    this.#move(one);
    this.onChoose(this.#index(one), one);
  }

  #move(one) {
    if (!one) return;
    for (const other of this.root.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    one.tabIndex = 0;
    this.onMove(this.#index(one), one);
  }

  #key(event) {
    const one = event.target.closest(".symbol");
    if (!one) return;
    const all = [...this.elements];
    const at = all.indexOf(one);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all[Math.max(0, Math.min(all.length - 1, to))].focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(one);
    }
  }
}
