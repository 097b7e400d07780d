// Elements made in code. Text only ever becomes text nodes, so names of files cannot become markup.

/** An element. Properties that start with "on" are listeners; false and null leave an attribute out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** One of the symbols of index.html. */
export const icon = (name) =>
  svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));

/** What a search matched, drawn over the photo of the query: the outline that is proven, or else the region. */
export function overlay(result) {
  const shapes = [];
  if (result.outline) {
    const points = result.outline.map((point) => point.join(",")).join(" ");
    shapes.push(svg("polygon", { class: "halo", points }), svg("polygon", { class: "proof", points }));
  } else if (result.region) {
    const [x, y, width, height] = result.region;
    const place = { x, y, width, height };
    shapes.push(svg("rect", { class: "halo", ...place }), svg("rect", { class: "match", ...place }));
  }
  return svg("svg", { class: "overlay", viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" }, ...shapes);
}

const numbers = new Intl.NumberFormat("en");
export const count = (number, one, many = `${one}s`) => `${numbers.format(number)} ${number === 1 ? one : many}`;
export const plain = (number) => numbers.format(number);

/** A probability in per cent, never rounded to what it cannot mean. */
export function percent(score) {
  if (score < 0.01) return "< 1 %";
  if (score > 0.99) return "> 99 %";
  return `${Math.round(100 * score)} %`;
}

/** A number of bytes, as people write it. */
export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

/** The last part of an image_id, which is a path. */
export const basename = (imageId) => imageId.split("/").at(-1);

/** A short message that goes away. */
export function notify(text) {
  const notice = h("p", { class: "notice" }, text);
  document.getElementById("notices").append(notice);
  setTimeout(() => notice.remove(), 6000);
}
