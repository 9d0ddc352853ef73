// Asks the validators of the npm packages (tools/crds/package.json) about Kubernetes documents: a JSON list of them comes in, and the
// list of what is wrong with each goes out. They know types and limits; fields that do not exist are none of their business.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { argv, stdin, stdout } from "node:process";

const MODULES = join(resolve(argv[2]), "node_modules");
const PACKAGES = {
  "gateway.envoyproxy.io": "@kubernetes-models/envoy-gateway/gateway.envoyproxy.io",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api/gateway.networking.k8s.io",
};

async function problems(document) {
  const [group, version] = document.apiVersion.split("/");
  const file = join(MODULES, PACKAGES[group] ?? group, version ?? "", `${document.kind}.js`);
  if (!existsSync(file)) return [`${document.apiVersion} ${document.kind} is not in the packages`];
  const { [document.kind]: Kind } = await import(file);
  try {
    new Kind(document).validate();
    return [];
  } catch (error) {
    return (error.errors ?? [error]).map((one) => `${one.instancePath ?? ""} ${one.message ?? one}`);
  }
}

let text = "";
for await (const part of stdin) text += part;
stdout.write(JSON.stringify(await Promise.all(JSON.parse(text).map(problems))));
