// The Gateway always uses two folders in /tmp: its locks, named after its database, and one that it writes to if it
// fails.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import path from "node:path";

/** Must be called before anything of the Gateway runs. The returned function removes what a Gateway with this state
 * left behind. */
export function watchLeftovers() {
  const failuresBefore = existsSync("/tmp/openclaw");
  return (state) => {
    const locks = `/tmp/openclaw-state-locks-${process.getuid()}`;
    const mine = `.${createHash("sha256").update(path.join(state, "state/openclaw.sqlite")).digest("hex").slice(0, 8)}.lock.`;
    let files = [];
    try { files = readdirSync(locks); } catch { /* there are none */ }
    for (const file of files) if (file.includes(mine)) rmSync(path.join(locks, file), { force: true });
    try { rmdirSync(locks); } catch { /* of another Gateway as well, or not there */ }
    if (!failuresBefore) rmSync("/tmp/openclaw", { recursive: true, force: true });
  };
}
