// The body of a function: all text of the page whose contrast is below the WCAG's AA. A colour is
// painted and read back, so that every way to write one is understood; a ground that lets another one
// through is painted over it.
const canvas = document.createElement('canvas');
canvas.width = canvas.height = 1;
const context = canvas.getContext('2d', {willReadFrequently: true});
const painted = (grounds, colour, opacity) => {
  context.globalAlpha = 1;
  context.clearRect(0, 0, 1, 1);
  for (const ground of grounds) {
    context.fillStyle = ground;
    context.fillRect(0, 0, 1, 1);
  }
  context.globalAlpha = opacity;
  context.fillStyle = colour;
  context.fillRect(0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
};
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((part) => {
    const it = part / 255;
    return it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const grounds = (element) => {
  const colours = [];
  for (let it = element; it; it = it.parentElement) {
    colours.unshift(getComputedStyle(it).backgroundColor);
  }
  return ['Canvas', ...colours];
};
/** What all elements around it leave of a text's colour. */
const opacity = (element) => {
  let all = 1;
  for (let it = element; it; it = it.parentElement) all *= Number(getComputedStyle(it).opacity);
  return all;
};
const pale = [];
let looked = 0;
for (const element of document.body.querySelectorAll('*')) {
  const text = [...element.childNodes]
    .filter((it) => it.nodeType === Node.TEXT_NODE)
    .map((it) => it.data.trim())
    .join(' ')
    .trim();
  const seen = element.checkVisibility({opacityProperty: true, visibilityProperty: true});
  const box = element.getBoundingClientRect();
  const disabled = element.closest(':disabled, [aria-disabled=true], script, style, noscript');
  if (text === '' || !seen || disabled || box.width <= 1 || box.height <= 1) continue;
  const style = getComputedStyle(element);
  const colour = element instanceof SVGElement ? style.fill : style.color;
  if (colour === 'none') continue;
  const ground = grounds(element);
  const [one, two] = [0, opacity(element)].map((part) => luminance(painted(ground, colour, part)));
  const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  looked += 1;
  if (ratio < (large ? 3 : 4.5)) pale.push({ratio, text: `${element.tagName} ${text}`});
}
pale.sort((a, b) => a.ratio - b.ratio);
return {pale, looked};
