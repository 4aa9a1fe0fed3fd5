"""What tests check in a browser: whether any text is outside of its plot or covers another text."""

OVERLAPS = """() => {
  const found = {outside: [], over: [], count: 0};
  for (const svg of document.querySelectorAll(".plot svg.marks")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].filter(
      (t) => t.textContent.trim() && getComputedStyle(t).opacity !== "0"
        && t.getAttribute("opacity") !== "0" && t.style.opacity !== "0");
    const boxes = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
    found.count += boxes.length;
    boxes.forEach(([text, a], i) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1
          || a.bottom > frame.bottom + 1) found.outside.push(text);
      for (const [other, b] of boxes.slice(i + 1)) {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1.5 && high > 4) found.over.push(text + " | " + other);
      }
    });
  }
  return found;
}"""
