/**
 * The page: wires the face to its buttons.
 *
 * In the address: `?speaker=NAME`, `?autostart=1` (microphone at once), `?ui=0` (the face alone), `?watch=NAME` (another
 * session's face), `?name=NAME` (under which others watch this one), `?token=...`, `?log=debug`.
 */

import { LipwireFace } from "./face.js";
import { log } from "./log.js";
import { Panel } from "./panel.js";
import { Recorder } from "./recorder.js";
import { loadSettings, saveSettings } from "./settings.js";

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
const settings = loadSettings();
const METER_MAX = 0.6;

const face = new LipwireFace(element("face"), {
  speaker: address.get("speaker") || settings.speaker || undefined,
  transport: /** @type {any} */ (settings.transport),
  view: /** @type {any} */ (settings.view),
  silenceThreshold: settings.silencePercent / 100,
  name: address.get("name") || undefined,
});
/** @type {Recorder | null} */
let recorder = null;

/** What tests and curious users may look at. */
Object.assign(window, {
  lipwire: {
    face,
    get state() {
      return face.figures;
    },
  },
});

// ---- what the face tells ---------------------------------------------------------------------------------------------

/** @param {string} name @param {(detail: any) => void} show */
const on = (name, show) => face.addEventListener(name, (event) => show(/** @type {CustomEvent} */ (event).detail));

/** @param {string} words @param {"info" | "error"} [kind] */
function tell(words, kind = "info") {
  element("message").textContent = words;
  element("message").dataset.kind = kind;
}

on("message", ({ words, kind }) => {
  tell(words, kind);
  if (words) log(kind === "error" ? "warn" : "info", words);
});

on("state", ({ state, words }) => {
  log("info", "connection:", state, words);
  element("connection").textContent = state;
  element("connection-dot").dataset.state = state;
  if (state === "connected") arrive();
});

const BUTTONS = [
  { id: "sample", source: "sample", rest: "Play the sample", active: "Stop the sample" },
  { id: "microphone", source: "microphone", rest: "Use the microphone", active: "Stop the microphone" },
  { id: "choose", source: "file", rest: "Audio file…", active: "Stop the file" },
  { id: "tab", source: "tab", rest: "A tab’s sound", active: "Stop the tab" },
  { id: "test", source: "test", rest: "Test mode", active: "Stop the test" },
];

on("source", (name) => {
  log("info", "source:", name);
  for (const { id, source, rest, active } of BUTTONS) {
    element(id).textContent = name === source ? active : rest;
    element(id).setAttribute("aria-pressed", String(name === source));
  }
  if (name === "none") stopRecording();
});

on("level", ({ level, silent }) => {
  element("level").value = level;
  element("level-bar").style.width = `${Math.min(100, (100 * level) / METER_MAX)}%`;
  element("voice").textContent = silent ? "quiet" : "voice";
});

on("frame", (news) => log("debug", "frame", news));

on("models", ({ models, default: usual }) => {
  const wanted = face.options.speaker ?? usual;
  const known = models.some((/** @type {any} */ model) => model.name === wanted);
  if (!known) {
    tell(`The speaker “${wanted}” is not installed here; the default speaks.`, "error");
    face.setSpeaker(usual);
  }
  const chosen = known ? wanted : usual;
  element("speaker").replaceChildren(
    ...models.map((/** @type {any} */ model) => new Option(model.title, model.name, false, model.name === chosen)),
  );
});

// ---- what the user does ----------------------------------------------------------------------------------------------

/** @param {string} id @param {string} source @param {() => unknown} begin */
function toggle(id, source, begin) {
  element(id).onclick = () => (face.sourceName === source ? face.stop() : begin());
}

async function playSample() {
  try {
    const response = await fetch("sample.wav");
    if (!response.ok) throw new Error(`the server answers ${response.status}`);
    await face.playFile(await response.arrayBuffer(), "The sample", "sample");
  } catch (error) {
    tell(`The sample could not be loaded: ${/** @type {Error} */ (error).message}. Is the server running?`, "error");
  }
}

async function listen() {
  const { deviceId, echoCancellation, noiseSuppression, autoGainControl, monitor } = settings;
  await face.listen({ deviceId, echoCancellation, noiseSuppression, autoGainControl, monitor });
  if (face.sourceName === "microphone") {
    tell("Speak: the face follows.");
    await listDevices();
  }
}

/** @param {File | undefined} file */
async function playFile(file) {
  if (file) await face.playFile(await file.arrayBuffer(), `“${file.name}”`);
}

toggle("sample", "sample", playSample);
toggle("microphone", "microphone", listen);
toggle("choose", "file", () => element("file").click());
toggle("tab", "tab", () => face.listenToTab());
toggle("test", "test", () => face.test());
element("file").onchange = async () => {
  await playFile(element("file").files[0]);
  element("file").value = "";
};

const stage = element("stage");
/** @param {boolean} over */
function showDrop(over) {
  stage.classList.toggle("dropping", over);
  element("drop-hint").hidden = !over;
}
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  showDrop(true);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) showDrop(false);
});
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  showDrop(false);
  await playFile(event.dataTransfer?.files[0]);
});

function stopRecording() {
  recorder?.stop();
  recorder = null;
  element("record").textContent = "Record";
  element("record").setAttribute("aria-pressed", "false");
}

element("record").onclick = () => {
  if (recorder) return stopRecording();
  if (face.sourceName === "none") return tell("Start the sample, a file or the microphone first, then record.");
  recorder = new Recorder(element("face"), face.source?.track);
  element("record").textContent = "Stop recording";
  element("record").setAttribute("aria-pressed", "true");
};

element("fullscreen").onclick = () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen());
stage.ondblclick = element("fullscreen").onclick;

// ---- settings --------------------------------------------------------------------------------------------------------

element("speaker").onchange = () => {
  settings.speaker = element("speaker").value;
  saveSettings(settings);
  face.setSpeaker(settings.speaker);
};

function showSilence() {
  element("silence-value").textContent = `${settings.silencePercent} %`;
  element("threshold-mark").style.left = `${settings.silencePercent / METER_MAX}%`;
}
element("silence").oninput = () => {
  settings.silencePercent = Number(element("silence").value);
  showSilence();
};
element("silence").onchange = () => {
  saveSettings(settings);
  face.configure({ silenceThreshold: settings.silencePercent / 100 });
};

for (const key of /** @type {const} */ (["transport", "view"])) {
  element(key).value = settings[key];
  element(key).onchange = () => {
    settings[key] = element(key).value;
    saveSettings(settings);
    element("view").disabled = settings.transport !== "live";
    face.configure({ [key]: settings[key] });
  };
}
for (const key of /** @type {const} */ (["echoCancellation", "noiseSuppression", "autoGainControl", "monitor"])) {
  element(key).checked = settings[key];
  element(key).onchange = () => {
    settings[key] = element(key).checked;
    saveSettings(settings);
    if (face.sourceName === "microphone") listen();
  };
}
element("device").onchange = () => {
  settings.deviceId = element("device").value;
  saveSettings(settings);
  if (face.sourceName === "microphone") listen();
};

/** Browsers name the devices once the microphone has been allowed. */
async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const inputs = devices.filter((device) => device.kind === "audioinput" && device.deviceId && device.label);
  const options = inputs.map((device) => new Option(device.label, device.deviceId));
  element("device").replaceChildren(new Option("The browser’s default", ""), ...options);
  element("device").value = inputs.some((device) => device.deviceId === settings.deviceId) ? settings.deviceId : "";
}
navigator.mediaDevices?.addEventListener("devicechange", listDevices);

// ---- begin -----------------------------------------------------------------------------------------------------------

let arrived = false;
/** Once, with the first connection. */
function arrive() {
  if (arrived) return;
  arrived = true;
  const watched = address.get("watch");
  if (watched) face.watch(watched);
  else if (address.get("autostart") === "1") listen();
}

document.documentElement.classList.toggle("bare", address.get("ui") === "0");
element("silence").value = settings.silencePercent;
element("view").disabled = settings.transport !== "live";
showSilence();
new Panel(face);
face.connect();
