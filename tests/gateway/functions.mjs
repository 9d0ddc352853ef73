// Functions of the Gateway's package, to be called without starting it.
//
// The package's files are named after hashes. A function is found by its declaration below a `//#region src/gateway/…`
// marker (or that of another area). A function that its file does not export is exported in memory, by a hook on module
// loading. Nothing is written. What the package imports, and is not installed beside it, is replaced by objects that
// accept everything: the functions do not use it, and a wrong guess would be an error or a difference in what they
// decide.
import fs from "node:fs";
import { isBuiltin, registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/**
 * The functions and constants with these names in a folder of the package's files; those that it does not have are
 * missing. A package that is not installed beside it, and is `lent`, is taken from the folder `from`.
 */
export async function load(dist, names, { area = "src/gateway/", lent = [], from } = {}) {
  const found = new Map(); // file -> { name: the name that it has inside }
  for (const file of fs.readdirSync(dist).filter((name) => /\.m?js$/.test(name))) {
    const text = fs.readFileSync(path.join(dist, file), "utf8");
    for (const [, name] of text.matchAll(/\b\w+_exports\.([A-Za-z_]\w*)/g)) usedOfNamespaces.add(name);
    if (!text.includes(`//#region ${area}`)) continue;
    for (const name of names) {
      const declared = new RegExp(`^(?:(?:async )?function|const) (${name}(?:\\$\\d+)?)(?:\\(| = )`, "m").exec(text);
      const region = declared && text.slice(0, declared.index).match(/\/\/#region (\S+)(?![\s\S]*\/\/#region)/)?.[1];
      if (!region?.startsWith(area)) continue;
      const place = path.join(dist, file), twice = [...found].find(([, other]) => name in other);
      if (twice) throw new Error(`${name} is in ${twice[0]} and in ${place}`);
      found.set(place, { ...found.get(place), [name]: declared[1] });
    }
  }
  const resolve = (specifier, context, next) => resolveOrStub(specifier, context, next, lent, from);
  registerHooks({ resolve, load: (url, context, next) => loadWithExports(found, url, context, next) });
  const all = {};
  for (const [place, inside] of found) {
    const module = await import(pathToFileURL(place).href);
    for (const name of Object.keys(inside)) all[name] = module[`__oracle_${name}`];
  }
  return all;
}

function resolveOrStub(specifier, context, next, lent, from) {
  const isBare = !/^[./]|^file:/.test(specifier) && !isBuiltin(specifier);
  try {
    return next(specifier, context);
  } catch (error) {
    if (!isBare || !context.parentURL?.startsWith("file:")) throw error;
    if (lent.includes(specifier)) return next(specifier, { ...context, parentURL: pathToFileURL(path.join(from, "_.mjs")).href });
    const names = importedNames(fs.readFileSync(fileURLToPath(context.parentURL), "utf8"), specifier);
    return { url: `stub:${specifier}?${names.join("&")}`, format: "module", shortCircuit: true };
  }
}

/** Names that any file takes from a re-exported namespace. */
const usedOfNamespaces = new Set();

/** The names that a file imports from a package. */
function importedNames(text, specifier) {
  const quoted = specifier.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const lists = text.matchAll(new RegExp(`^(?:im|ex)port [^;"]*?\\{([^}]*)\\} from "${quoted}"`, "gm"));
  const names = [...lists].flatMap(([, list]) => list.split(",").map((one) => one.trim().split(/\s+as\s+/)[0]));
  for (const [, name] of text.matchAll(new RegExp(`\\("${quoted}"\\)\\.(\\w+)`, "g"))) names.push(name);
  if (new RegExp(`^import \\* as \\w+ from "${quoted}"`, "m").test(text)) names.push(...usedOfNamespaces);
  return [...new Set(names)].filter((name) => name && name !== "default");
}

const STUB = `const make = () => new Proxy(function () {}, {
  get: (target, key) => key === Symbol.toPrimitive ? () => "stub" : key === Symbol.iterator ? function* () {} : key === "then" ? undefined
    : Object.hasOwn(target, key) ? target[key] : make(),
  apply: make, construct: make,
});
const stub = make();
export default stub;
// 2026.8.1 asks where its log goes.
const folder = () => process.env.TMPDIR ?? "/tmp";
`;

function loadWithExports(found, url, context, next) {
  if (url.startsWith("stub:")) {
    const names = url.slice(url.indexOf("?") + 1).split("&").filter(Boolean);
    const list = names.map((name) => `${name === "resolveSecureTempRoot" ? "folder" : "stub"} as ${name}`).join(", ");
    return { format: "module", shortCircuit: true, source: list ? `${STUB}export { ${list} };\n` : STUB };
  }
  const result = next(url, context);
  const names = url.startsWith("file:") ? found.get(fileURLToPath(url)) : undefined;
  if (!names) return result;
  const list = Object.entries(names).map(([name, inside]) => `${inside} as __oracle_${name}`).join(", ");
  return { ...result, source: `${Buffer.from(result.source).toString("utf8")}\nexport { ${list} };\n` };
}
