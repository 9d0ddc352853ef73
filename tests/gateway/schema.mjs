// The Gateway's own validation of an openclaw.json, and its schema.
//
//   node schema.mjs PACKAGE LENDER        JSON lines in and out, in the same order
//
// Writes one line with the schema that `cli/src/check/schema.json` has for a release. Then, for each configuration that
// it reads, a line with the list of its issues: [[path, message], …]. What an older package needs, and is not installed
// beside it, comes from LENDER: that is the library that the schemas are written with.
import fs from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { load } from "./functions.mjs";

const [pkg, lender] = process.argv.slice(2);
const gateway = await load(fs.realpathSync(path.join(pkg, "dist")), ["OpenClawSchema", "validateConfigObjectRaw"], {
  area: "src/config/", lent: ["zod"], from: lender,
});
for (const name of ["OpenClawSchema", "validateConfigObjectRaw"]) {
  if (!gateway[name]) throw new Error(`this Gateway has no ${name}: is it another version?`);
}
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
say(schema());
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const result = gateway.validateConfigObjectRaw(JSON.parse(line));
  say(result.ok ? [] : result.issues.map(({ path, message }) => [path, message]));
}
process.exit(0);

/** The names of all blocks, and the schemas of those that `check` looks into. */
function schema() {
  const all = gateway.OpenClawSchema.toJSONSchema({ io: "input", unrepresentable: "any", reused: "inline", override: note });
  const properties = {};
  for (const name of Object.keys(all.properties).sort()) {
    properties[name] = ["gateway", "hooks"].includes(name) ? compact(all.properties[name]) : {};
  }
  return { ...compact({ ...all, properties: {} }), properties };
}

/** Notes what JSON Schema cannot say: that a text is trimmed first, and that code looks at the value as well. */
function note({ zodSchema, jsonSchema }) {
  const checks = zodSchema._zod.def.checks ?? [];
  const kinds = checks.map((check) => check._zod?.def?.check);
  if (kinds.includes("overwrite")) jsonSchema.trimmed = true;
  const own = kinds.filter((kind) => kind === "custom").length;
  if (own > 0) jsonSchema.code = own;
}

/** Without texts for people, and with choices as `enum`. */
function compact(schema) {
  const { title, description, $schema, default: _, ...rest } = schema;
  for (const key of ["anyOf", "oneOf", "allOf"]) {
    if (!rest[key]) continue;
    const all = rest[key].map(compact);
    if (key !== "allOf" && all.every((one) => one.enum)) {
      delete rest[key];
      rest.enum = all.flatMap((one) => one.enum);
    } else {
      rest[key] = all;
    }
  }
  if ("const" in rest) {
    rest.enum = [rest.const];
    delete rest.const;
  }
  if (rest.enum) delete rest.type;
  if (rest.properties) {
    const sorted = Object.entries(rest.properties).sort(([one], [other]) => (one < other ? -1 : 1));
    rest.properties = Object.fromEntries(sorted.map(([name, one]) => [name, compact(one)]));
  }
  for (const key of ["items", "additionalProperties", "propertyNames"]) {
    if (typeof rest[key] === "object") rest[key] = compact(rest[key]);
  }
  return rest;
}
