// Runs the Gateway as long as this program's standard input is open, and then removes what it left behind.
//
//   node run.mjs PACKAGE FOLDER [MORE...]
//
// FOLDER holds openclaw.json and receives the Gateway's state; it and MORE are removed at the end. The test holds the
// other end of the standard input: however the test ends, the system closes it, and the Gateway ends as well.
import { spawn } from "node:child_process";
import { mkdirSync, realpathSync, rmSync } from "node:fs";
import path from "node:path";
import { watchLeftovers } from "./leftovers.mjs";

const [pkg, given, ...more] = process.argv.slice(2);
mkdirSync(path.join(given, "tmp"), { recursive: true });
const folder = realpathSync(given);
const state = path.join(folder, "state");
const cleanLeftovers = watchLeftovers();

// Nothing from the caller's environment, except what an option named.
const env = { PATH: process.env.PATH, TZ: "UTC", LANG: "C.UTF-8", TMPDIR: path.join(folder, "tmp"), HOME: folder };
Object.assign(env, {
  OPENCLAW_HOME: folder,
  OPENCLAW_STATE_DIR: state,
  OPENCLAW_CONFIG_PATH: path.join(folder, "openclaw.json"),
  OPENCLAW_SKIP_CHANNELS: "1",
  OPENCLAW_OFFLINE: "1",
  OPENCLAW_NO_AUTO_UPDATE: "1",
  OPENCLAW_DISABLE_BONJOUR: "1",
});
for (const [name, value] of Object.entries(process.env)) if (name.startsWith("GATEWAY_ENV_")) env[name.slice(12)] = value;

// In its own process group, which is killed as a whole: its state is temporary, and a graceful shutdown may take
// minutes.
const gateway = spawn(process.execPath, [path.join(pkg, "openclaw.mjs"), "gateway", "run"], {
  cwd: folder, env, detached: true, stdio: ["ignore", "inherit", "inherit"],
});
gateway.on("error", (error) => { console.error(`cannot run the Gateway: ${error.message}`); end(1); });
gateway.on("exit", (code, signal) => { console.error(`the Gateway ended: ${signal ?? code}`); end(1); });
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => end(0));
process.stdin.on("end", () => end(0)).on("error", () => end(0)).resume();
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});

function end(code) {
  end = () => {};
  gateway.removeAllListeners("exit");
  const attempt = (left) => {
    // As long as a process of the group exists, it could write.
    if (left > 0 && kill()) setTimeout(attempt, 20, left - 1); else { clean(); process.exit(code); }
  };
  attempt(500);
}

/** Whether a process of the Gateway's group still had to be killed. */
function kill() {
  try { return gateway.pid !== undefined && process.kill(-gateway.pid, "SIGKILL"); } catch { return false; }
}

function clean() {
  for (const one of [folder, ...more]) rmSync(one, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  cleanLeftovers(state);
}
