// Inspects a page for readability: one expression, evaluated in the page.
(() => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  // Relative luminance and contrast as WCAG 2.2 defines them.
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((one) => one / 255).map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const isOpaque = (color) => color.length < 4 || color[3] === 1;
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (isOpaque(color)) return color;
    }
    return null;
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const text = node.data.trim();
    if (!text) continue;
    const element = node.parentElement;
    const style = getComputedStyle(element);
    const [front, back] = [channels(style.color), background(element)];
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()];
    texts.push({
      text,
      contrast: back && isOpaque(front) ? contrast(front, back) : 0,
      size: parseFloat(style.fontSize),
      right: Math.max(...boxes.map((box) => box.right)),
      visible: element.checkVisibility() && boxes.length > 0,
    });
  }
  const root = document.scrollingElement;
  return {
    texts,
    width: innerWidth,
    scrollWidth: root.scrollWidth,
    background: background(document.body),
    title: document.title,
    lang: document.documentElement.lang,
    doctype: document.doctype?.name ?? null,
    compatMode: document.compatMode,
    headings: [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map((heading) => heading.tagName),
    h1: document.querySelector("h1")?.innerText,
    mains: document.querySelectorAll("main").length,
    code: [...document.querySelectorAll("code")].map((code) => code.innerText),
    viewport: document.querySelector("meta[name=viewport]")?.content,
    scripts: document.scripts.length,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
    styled: [...document.styleSheets].map((sheet) => sheet.cssRules.length),
  };
})();
