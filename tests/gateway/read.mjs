// How the Gateway's own readers parse texts.
//
//   node read.mjs PACKAGE json5|dotenv
//
// Reads one JSON text per line. Writes one line for each: the parsed text, or null if it was refused.
//
// For a dotenv file: the variable A.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [pkg, what] = process.argv.slice(2);
const reader = createRequire(path.join(pkg, "openclaw.mjs"))(what);
const shown = (value) => {
  if (Object.is(value, -0)) return "-0";
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  if (Number.isNaN(value)) return "NaN";
  if (Array.isArray(value)) return `[${value.map(shown).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  return `{${Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}:${shown(one)}`).join(",")}}`;
};
console.warn = () => {};
const read = {
  json5: (text) => { try { return shown(reader.parse(text)); } catch { return null; } },
  dotenv: (text) => reader.parse(text).A ?? null,
};
// Not with readline, which treats U+2028 as the end of a line.
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  process.stdout.write(`${JSON.stringify(read[what](JSON.parse(line)))}\n`);
}
