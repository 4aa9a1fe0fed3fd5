"""What tests check in a browser: texts that cover others, light patches by night, what scrolls."""

OVERLAPS = """() => {
  const found = {outside: [], over: [], count: 0};
  for (const svg of document.querySelectorAll(".plot svg.marks")) {
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll("text")].filter(
      (t) => t.textContent.trim() && getComputedStyle(t).opacity !== "0"
        && getComputedStyle(t).stroke === "none"  // an outline lies under the text itself
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

# What is larger than a letter and nearly white: backgrounds of elements, and shapes of plots.
LIGHT_PATCHES = """() => {
  const light = (colour, opacity) => {
    const parts = (colour.match(/[\\d.]+/g) || []).map(Number);
    if (parts.length < 3) return false;
    const alpha = (parts.length > 3 ? parts[3] : 1) * opacity;
    return alpha * (0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]) > 190;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const box = element.getBoundingClientRect();
    if (box.width * box.height < 300) continue;
    const style = getComputedStyle(element);
    const isShape = ["path", "rect"].includes(element.tagName);
    if (isShape && Math.min(box.width, box.height) < 4) continue;
    const opacity = Number(style.opacity) * (isShape ? Number(style.fillOpacity) : 1);
    if (light(isShape ? style.fill : style.backgroundColor, opacity))
      found.push(element.tagName + " " + (isShape ? style.fill : style.backgroundColor));
  }
  return found;
}"""

# Of everything that scrolls sideways: its class, its shadows, and whether a keyboard reaches it.
WIDER_THAN_SHOWN = """() => [...document.querySelectorAll(".scroll, .plot")]
  .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
  .map((one) => [one.classList[0], getComputedStyle(one).backgroundImage.split("linear-gradient")
    .length - 1, one.tabIndex === 0])"""
