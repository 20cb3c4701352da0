/** Every stage's latency over the last minute, stacked, as an SVG. */

const SECONDS = 60;
const WIDTH = 300;
const HEIGHT = 84;
/** The scale's steps, ms: it is as high as the highest second needs, so that a calm system fills the chart as well. */
const SCALES = [10, 20, 40, 80, 160, 320, 640];
const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name @param {Record<string, string | number>} attributes */
function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

export class StackedChart {
  /** @param {Element} place */
  constructor(place) {
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    this.label = document.createElement("span");
    place.replaceChildren(this.svg, this.label);
    /** @type {number[][]} one second a row: what each stage took, ms */
    this.rows = [];
  }

  /** @param {number[]} milliseconds of every stage in the last second */
  add(milliseconds) {
    this.rows.push(milliseconds);
    if (this.rows.length > SECONDS) this.rows.shift();
    this.#draw();
  }

  #draw() {
    const highest = Math.max(...this.rows.map((row) => row.reduce((sum, value) => sum + value, 0)));
    const scale = SCALES.find((step) => step >= highest) ?? highest;
    const stages = this.rows[0].length;
    /** @param {number} second @param {number} upTo how many stages lie below @returns {string} */
    const point = (second, upTo) => {
      const below = this.rows[second].slice(0, upTo).reduce((sum, value) => sum + value, 0);
      const x = WIDTH * (1 - (this.rows.length - 1 - second) / (SECONDS - 1));
      return `${x.toFixed(1)},${(HEIGHT * (1 - below / scale)).toFixed(1)}`;
    };
    const seconds = this.rows.map((_, second) => second);
    const areas = Array.from({ length: stages }, (_, stage) => {
      const above = seconds.map((second) => point(second, stage + 1));
      const below = seconds.map((second) => point(second, stage)).reverse();
      return make("polygon", { points: [...above, ...below].join(" "), class: `stage-${stage}` });
    });
    this.svg.replaceChildren(...areas);
    this.label.textContent = `${scale} ms`;
  }
}
