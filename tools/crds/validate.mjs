// Runs the validators of the npm packages (tools/crds/package.json) on Kubernetes documents: a JSON list of documents
// comes in, and a list of the problems of each goes out: [{path, keyword, message}]. The validators check types and
// limits; they ignore fields that do not exist.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { argv, stdin, stdout } from "node:process";

const MODULES = join(resolve(argv[2]), "node_modules");
// The folder of a group's kinds; kinds without a group are listed under their version.
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
