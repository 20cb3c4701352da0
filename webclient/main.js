/** The page: wires sources, connection and display to the buttons. */

import { Connection } from "./connection.js";
import { Display } from "./display.js";
import { FilePlayer, Microphone, microphoneWords } from "./sources.js";

const element = (id) => document.getElementById(id);
const scheme = location.protocol === "https:" ? "wss" : "ws";
const connection = new Connection(`${scheme}://${location.host}/ws${location.search}`);
const display = new Display(element("face"));

/** What tests and curious users may look at. */
const state = { connection: "closed", source: "none", framesReceived: 0, dropped: 0, roundTripMs: 0, lastError: "" };
window.lipwire = {
  get state() {
    return { ...state, framesDrawn: display.drawn, late: display.late, avOffsetMs: display.avOffsetMs };
  },
};

let source = null;

function tell(words, kind = "info") {
  element("message").textContent = words;
  element("message").dataset.kind = kind;
  if (kind === "error") state.lastError = words;
}

function stop() {
  source?.stop();
  source = null;
  state.source = "none";
  display.position = null;
  display.clear();
  connection.stopStream();
  element("sample").textContent = "Play the sample";
  element("microphone").textContent = "Use the microphone";
}

async function start(name, button, makeSource, begin) {
  const same = state.source === name;
  stop();
  if (same) return;
  if (!connection.connected) return tell("There is no connection to the server yet.", "error");
  connection.startStream({ speaker: element("speaker").value || undefined });
  source = makeSource();
  state.source = name;
  try {
    await begin(source);
    element(button).textContent = "Stop";
    tell(name === "microphone" ? "Speak: the face follows." : "");
  } catch (error) {
    const words = name === "microphone" ? microphoneWords(error) : `This file cannot be played: ${error.message}`;
    stop();
    tell(words, "error");
  }
}

function playFile(name, button, load) {
  return start(name, button, () => new FilePlayer((chunk) => connection.sendChunk(chunk), stop), async (player) => {
    await player.start(await load());
    display.position = () => player.position();
  });
}

element("sample").onclick = () => playFile("sample", "sample", async () => (await fetch("sample.wav")).arrayBuffer());
element("microphone").onclick = () =>
  start(
    "microphone",
    "microphone",
    () =>
      new Microphone(
        (chunk) => connection.sendChunk(chunk),
        () => {
          stop();
          tell("The microphone was unplugged. Plug it in and start again.", "error");
        },
      ),
    (microphone) => microphone.start(),
  );
element("speaker").onchange = () => {
  if (source) connection.sendJson({ action: "switch_model", speaker: element("speaker").value });
  else showRestingFace();
};

const stage = element("stage");
stage.ondragover = (event) => event.preventDefault();
stage.ondrop = (event) => {
  event.preventDefault();
  const file = event.dataTransfer.files[0];
  if (file) playFile("file", "sample", () => file.arrayBuffer());
};

/** One frame of silence, by the plain JSON request. */
function showRestingFace() {
  const silence = btoa("\0".repeat(15_360 * 2));
  const request = { action: "generate_frame", frame_id: 0, audio_data: silence, use_real_audio: true };
  const speaker = element("speaker").value;
  connection.sendJson(speaker ? { ...request, speaker } : request);
}

connection.addEventListener("state", ({ detail }) => {
  state.connection = detail.state;
  element("connection").textContent = detail.state;
  if (detail.state === "waiting") {
    stop();
    tell(detail.words, "error");
  }
  if (detail.state === "connected") {
    tell("");
    connection.sendJson({ action: "list_models" });
    connection.sendJson({ action: "stats", enabled: true });
    showRestingFace();
  }
});

connection.addEventListener("frame", ({ detail }) => {
  state.framesReceived++;
  state.dropped = detail.meta.dropped ?? 0;
  if (detail.sentAt !== undefined) state.roundTripMs = performance.now() - detail.sentAt;
  element("level").value = detail.meta.level;
  display.add(detail.meta, detail.image);
});

connection.addEventListener("failure", ({ detail }) => tell(`${detail.message} (${detail.error})`, "error"));

connection.addEventListener("answer", ({ detail }) => {
  if (detail.frame_data) {
    const image = Uint8Array.from(atob(detail.frame_data), (character) => character.charCodeAt(0));
    if (!source) display.add({ audio_ms: 0 }, image);
  } else if (detail.action === "models") {
    const chosen = element("speaker").value || new URLSearchParams(location.search).get("speaker") || detail.default;
    element("speaker").replaceChildren(
      ...detail.models.map((model) => new Option(model.title, model.name, false, model.name === chosen)),
    );
  } else if (detail.action === "stats") {
    showStats(detail.stages);
  }
});

let lastDrawn = 0;
let lastBytes = 0;

/** @param {any[]} stages once a second */
function showStats(stages) {
  element("fps").textContent = String(display.drawn - lastDrawn);
  element("bandwidth").textContent = `${Math.round((connection.bytesReceived - lastBytes) / 1024)} KB/s`;
  [lastDrawn, lastBytes] = [display.drawn, connection.bytesReceived];
  element("round-trip").textContent = `${state.roundTripMs.toFixed(0)} ms`;
  element("dropped").textContent = `${state.dropped} + ${display.late} late`;
  element("offset").textContent = display.position === null ? "–" : `${display.avOffsetMs.toFixed(0)} ms`;
  const rows = [...stages.slice(1), stages[0]].map((stage) => {
    const row = document.createElement("tr");
    const cells = [stage.stage, stage.queue_p50.toFixed(2), stage.service_p50.toFixed(2), stage.age_p50.toFixed(1)];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    row.title = stage.note;
    return row;
  });
  element("stages").replaceChildren(...rows);
}

connection.open();
