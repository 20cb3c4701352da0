/** The console, at a level that `?log=debug|info|warn|off` sets. */

const LEVELS = ["debug", "info", "warn", "off"];
const chosen = LEVELS.indexOf(new URLSearchParams(location.search).get("log") ?? "warn");
const least = chosen < 0 ? LEVELS.indexOf("warn") : chosen;

/** @param {"debug" | "info" | "warn"} level @param {unknown[]} what */
export function log(level, ...what) {
  if (LEVELS.indexOf(level) >= least) console[level]("lipwire:", ...what);
}
