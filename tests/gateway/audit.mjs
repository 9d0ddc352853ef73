// Runs the Gateway's own `openclaw security audit --json` on many configurations.
//
//   node audit.mjs PACKAGE        JSON lines in and out, in the same order
//
// In: {"folder", "environment"}; the folder holds openclaw.json and receives the state. Out: {"code", "stdout",
// "stderr"}.
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { watchLeftovers } from "./leftovers.mjs";

const [pkg] = process.argv.slice(2);
const cleanLeftovers = watchLeftovers();
const wanted = [];
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) wanted.push(JSON.parse(line));
const answers = [];
let next = 0;
const work = async () => { while (next < wanted.length) { const at = next++; answers[at] = await settled(wanted[at]); } };
// Most of the time of each run is its start.
await Promise.all([work(), work(), work()]);
for (const answer of answers) process.stdout.write(`${JSON.stringify(answer)}\n`);

/** The package locks itself for a moment when it starts for the first time, and then any other start fails. */
async function settled(one) {
  for (let left = 10; ; left--) {
    const answer = await audit(one);
    if (left === 0 || !answer.stderr.includes("package lifecycle is incomplete")) return answer;
    await new Promise((done) => setTimeout(done, 1000));
  }
}

function audit({ folder, environment }) {
  const home = realpathSync(folder);
  // Nothing from the caller's environment.
  const env = {
    PATH: process.env.PATH, TZ: "UTC", LANG: "C.UTF-8", TMPDIR: home, HOME: home, OPENCLAW_HOME: home,
    OPENCLAW_STATE_DIR: home, OPENCLAW_CONFIG_PATH: path.join(home, "openclaw.json"),
    OPENCLAW_OFFLINE: "1", OPENCLAW_NO_AUTO_UPDATE: "1", ...environment,
  };
  return new Promise((done) => {
    const child = spawn(process.execPath, [path.join(pkg, "openclaw.mjs"), "security", "audit", "--json"], {
      cwd: home, env, stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "", stderr = "";
    child.stdout.on("data", (data) => { stdout += data; });
    child.stderr.on("data", (data) => { stderr += data; });
    child.on("error", (error) => done({ code: -1, stdout, stderr: String(error) }));
    child.on("close", (code) => { cleanLeftovers(home); done({ code, stdout, stderr }); });
  });
}
