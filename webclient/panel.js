/** Shows what is going on: the figures of this page, and every stage's latency as a chart over time and a table. */

import { StackedChart } from "./chart.js";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

/** @param {string} name @param {string} text */
function make(name, text = "") {
  return Object.assign(document.createElement(name), { textContent: text });
}

export class Panel {
  /** @param {import("./face.js").LipwireFace} face */
  constructor(face) {
    this.face = face;
    this.chart = new StackedChart(element("stack"));
    /** What the server has dropped since this page came, by cause. @type {Record<string, number>} */
    this.drops = {};
    /** @type {Record<string, number> | null} */
    this.dropsBefore = null;
    this.last = { framesDrawn: 0, framesReceived: 0, bytesReceived: 0, at: performance.now() };
    face.addEventListener("stats", (event) => this.#showStages(/** @type {CustomEvent} */ (event).detail.stages));
    setInterval(() => this.#showFigures(), 1000);
  }

  #showFigures() {
    const now = performance.now();
    const figures = this.face.figures;
    const seconds = (now - this.last.at) / 1000;
    /** @param {"framesDrawn" | "bytesReceived"} key */
    const rate = (key) => Math.max(0, (figures[key] - this.last[key]) / seconds);
    const speaking = figures.source !== "none";
    element("connection").textContent = figures.connection;
    element("fps").textContent = speaking ? rate("framesDrawn").toFixed(0) : "–";
    element("round-trip").textContent = figures.roundTripMs ? `${figures.roundTripMs.toFixed(0)} ms` : "–";
    element("draw-latency").textContent = figures.drawLatencyMs
      ? `${figures.drawLatencyMs.toFixed(0)} ms, 95 %: ${figures.drawLatencyP95Ms.toFixed(0)} ms`
      : "–";
    element("offset").textContent = this.face.display.position
      ? `${figures.avOffsetMs >= 0 ? "+" : ""}${figures.avOffsetMs.toFixed(0)} ms`
      : "–";
    element("jitter").textContent = speaking && !this.face.display.position ? `${figures.jitterBufferMs.toFixed(0)} ms` : "–";
    const causes = Object.entries(this.drops).map(([cause, count]) => `${cause} ${count}`);
    element("lost").textContent = [figures.serverDropped, ...(causes.length ? [`all sessions: ${causes.join(", ")}`] : [])].join("; ");
    element("late").textContent = String(figures.late);
    element("skipped").textContent = String(figures.skipped);
    const saving = figures.saving > 0 ? `, ${(figures.saving * 100).toFixed(0)} % saved` : "";
    element("bandwidth").textContent = `${(rate("bytesReceived") / 1024).toFixed(0)} KB/s${saving}`;
    this.last = { ...figures, at: now };
  }

  /** @param {{stage: string, queue_p50: number, service_p50: number, age_p50: number, age_p99: number, drops: Record<string, number>, note: string}[]} stages */
  #showStages(stages) {
    const [edge, ...others] = stages;
    const inOrder = [...others, edge];
    const total = inOrder.reduce((sum, stage) => sum + stage.queue_p50 + stage.service_p50, 0);
    this.chart.add(inOrder.map((stage) => stage.queue_p50 + stage.service_p50));
    this.#countDrops(inOrder);
    element("stack").setAttribute("aria-label", `Stages take ${total.toFixed(1)} ms together`);
    element("total").textContent = total ? `${total.toFixed(1)} ms` : "–";
    const rows = inOrder.map((stage, index) => {
      const row = make("tr");
      const name = make("th");
      name.setAttribute("scope", "row");
      const dot = make("span");
      dot.className = `dot stage-${index}`;
      name.append(dot, stage.stage);
      const cells = [stage.queue_p50, stage.service_p50, stage.age_p50, stage.age_p99];
      row.append(name, ...cells.map((value) => make("td", stage.age_p50 ? value.toFixed(1) : "–")));
      return row;
    });
    element("stages").replaceChildren(...rows);
    element("backend").textContent = inOrder.find((stage) => stage.stage === "infer")?.note || "–";
  }

  /** The server counts since its start; people want to know what is lost now. @param {{drops: Record<string, number>}[]} stages */
  #countDrops(stages) {
    /** @type {Record<string, number>} */
    const now = {};
    for (const { drops } of stages) for (const [cause, count] of Object.entries(drops)) now[cause] = (now[cause] ?? 0) + count;
    const before = (this.dropsBefore ??= now);
    this.drops = {};
    for (const [cause, count] of Object.entries(now)) {
      const since = count - (before[cause] ?? 0);
      if (since < 0) this.dropsBefore = now; // the server, or a part of it, began anew
      else if (since) this.drops[cause] = since;
    }
  }
}
