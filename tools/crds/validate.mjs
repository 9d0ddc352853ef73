// Asks the validators of the npm packages (tools/crds/package.json) about Kubernetes documents: a JSON list of them
// comes in, and the list of what is wrong with each goes out: [{path, keyword, message}]. They know types and
// limits; fields that do not exist are none of their business.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { argv, stdin, stdout } from "node:process";

const MODULES = join(resolve(argv[2]), "node_modules");
// Where the kinds of a group are; those without a group stand under their version alone.
const PACKAGES = {
  "": "kubernetes-models",
  "gateway.envoyproxy.io": "@kubernetes-models/envoy-gateway/gateway.envoyproxy.io",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api/gateway.networking.k8s.io",
};

async function problems(document) {
  const [version, group = ""] = document.apiVersion.split("/").reverse();
  const file = join(MODULES, PACKAGES[group] ?? group, version, `${document.kind}.js`);
  if (!existsSync(file)) throw new Error(`${document.apiVersion} ${document.kind} is not in the packages`);
  const { [document.kind]: Kind } = await import(file);
  try {
    new Kind(document).validate();
    return [];
  } catch (error) {
    if (!error.errors) throw error;
    return error.errors.map(({ instancePath: path, keyword, message }) => ({ path, keyword, message }));
  }
}

let text = "";
for await (const part of stdin) text += part;
const told = [];
for (const document of JSON.parse(text)) told.push(await problems(document));
stdout.write(JSON.stringify(told));
