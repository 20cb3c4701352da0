/** What the page remembers from one visit to the next. */

const KEY = "lipwire";

const DEFAULTS = {
  speaker: "",
  transport: "live",
  view: "full",
  silencePercent: 1,
  deviceId: "",
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  monitor: false,
};

/** @typedef {typeof DEFAULTS} Settings */

/** @returns {Settings} what was saved where it is of the right type, the defaults for the rest */
export function loadSettings() {
  const settings = { ...DEFAULTS };
  try {
    const saved = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    for (const key of Object.keys(DEFAULTS)) {
      if (typeof saved?.[key] === typeof Reflect.get(DEFAULTS, key)) Reflect.set(settings, key, saved[key]);
    }
  } catch {
    // a browser that forbids storage, or text that is not ours: the defaults will do
  }
  return settings;
}

/** @param {Settings} settings */
export function saveSettings(settings) {
  try {
    localStorage.setItem(KEY, JSON.stringify(settings));
  } catch {
    // nothing is remembered then
  }
}
