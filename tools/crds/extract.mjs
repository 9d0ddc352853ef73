// Writes the schemas of tests/data/crds/envoy-gateway.json and kubernetes.json from npm packages:
// `@kubernetes-models/envoy-gateway` and `@kubernetes-models/gateway-api`, which are made from the Go types of
// Envoy Gateway and of the Gateway API, and `kubernetes-models`.
//
//   make .tools/crds/.installed && node tools/crds/extract.mjs .tools/crds tests/data/crds
//
// Those packages do not contain JSON schemas, but the JavaScript that Ajv compiled them to: each schema is a
// function, each keyword an error that the function may report, and each subschema a call. The schemas are read back
// from that code, which is not run. The packages' TypeScript types list the fields a second time: a field that only
// one of the two has is an error.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { argv } from "node:process";

const [PACKAGES, TO] = argv.slice(2).map((folder) => resolve(folder));
const MODULES = join(PACKAGES, "node_modules");
const acorn = createRequire(join(PACKAGES, "package.json"))("acorn");
// The full names of definitions, by the short names that they get here.
const FULL = new Map();
// The kinds that are used here, by file: package, folder of its types, API version, prefix of its schemas.
const KINDS = {
  "envoy-gateway.json": [
    [
      "@kubernetes-models/envoy-gateway", "gateway.envoyproxy.io/v1alpha1", "ComGithubEnvoyproxyGatewayApiV1alpha1",
      ["ClientTrafficPolicy", "EnvoyExtensionPolicy", "SecurityPolicy"],
    ],
    ["@kubernetes-models/gateway-api", "gateway.networking.k8s.io/v1", "IoK8sSigsGatewayApiApisV1", ["Gateway", "HTTPRoute"]],
  ],
  "kubernetes.json": [["kubernetes-models", "v1", "IoK8sApiCoreV1", ["Namespace", "Secret"]]],
};
// The fields of ObjectMeta that people write.
const METADATA = {
  additionalProperties: false,
  properties: {
    annotations: { additionalProperties: { type: "string" }, type: "object" },
    labels: { additionalProperties: { type: "string" }, type: "object" },
    name: { maxLength: 253, minLength: 1, pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", type: "string" },
    namespace: { maxLength: 63, minLength: 1, pattern: "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", type: "string" },
  },
  required: ["name"],
  type: "object",
};

function fail(file, node, what) {
  throw new Error(`${relative(MODULES, file)}:${node?.start ?? 0}: ${what}; if Ajv or the package changed, this tool must learn it`);
}

/** Every node below this one, except those in nested functions. */
function* below(node) {
  for (const child of Object.values(node).flat()) {
    if (typeof child?.type === "string") {
      yield child;
      if (!child.type.includes("Function")) yield* below(child);
    }
  }
}

/** A compiled schema: its imports, its constants, and a function for each schema in it. */
class Module {
  static #read = new Map();

  static of(file) {
    if (!Module.#read.has(file)) Module.#read.set(file, new Module(file));
    return Module.#read.get(file);
  }

  constructor(file) {
    this.file = file;
    this.imports = new Map();
    this.constants = new Map();
    this.functions = new Map();
    for (const node of acorn.parse(readFileSync(file, "utf8"), { ecmaVersion: "latest", sourceType: "module" }).body) {
      this.#statement(node);
    }
  }

  #statement(node) {
    if (node.type === "ImportDeclaration") {
      for (const one of node.specifiers) this.imports.set(one.local.name, node.source.value);
    } else if (node.type === "FunctionDeclaration") {
      this.functions.set(node.id.name, node.body);
    } else {
      const { declarations } = node.declaration ?? node;
      for (const { id, init } of declarations) {
        if (id.name === "validate") this.main = init.name;
        else this.constants.set(id.name, init);
      }
    }
  }

  /** A literal, or the constant that a name refers to. */
  #value(node) {
    if (node.type === "Identifier" && this.constants.has(node.name)) return this.#value(this.constants.get(node.name));
    if (node.type === "Literal") return node.value;
    if (node.type === "UnaryExpression" && node.operator === "-") return -this.#value(node.argument);
    if (node.type === "UnaryExpression" && node.operator === "!") return !this.#value(node.argument);
    if (node.type === "ArrayExpression") return node.elements.map((one) => this.#value(one));
    return fail(this.file, node, `no constant: ${node.type}`);
  }

  /** A keyword, from the error that reports its violation. */
  #keyword(schema, error) {
    const field = (object, name) => object.properties.find(({ key }) => key.name === name)?.value;
    const keyword = this.#value(field(error, "keyword"));
    const params = field(error, "params");
    const param = (name) => this.#value(field(params, name));
    const taken = {
      type: () => ({ type: param("type") }),
      enum: () => ({ enum: param("allowedValues") }),
      pattern: () => ({ pattern: param("pattern") }),
      format: () => ({ format: param("format") }),
      required: () => ({ required: [...(schema.required ?? []), param("missingProperty")] }),
      // The alternatives are calls, see below.
      oneOf: () => ({ oneOf: [] }),
    };
    for (const limit of ["Items", "Length", "Properties", "imum"]) {
      for (const side of ["min", "max"]) taken[side + limit] = () => ({ [side + limit]: param("limit") });
    }
    if (!taken[keyword]) fail(this.file, error, `an unknown keyword: ${keyword}`);
    Object.assign(schema, taken[keyword]());
  }

  /** The schema from which a function was compiled. `definitions` collects those of other files. */
  schema(name, definitions) {
    const body = this.functions.get(name) ?? fail(this.file, undefined, `no function ${name}`);
    const schema = {};
    const same = [];
    for (const node of below(body)) {
      if (node.type === "ObjectExpression" && node.properties.some(({ key }) => key?.name === "keyword")) {
        this.#keyword(schema, node);
      } else if (node.type === "CallExpression" && /^validate\d+$/.test(node.callee.name)) {
        const part = this.#part(node.callee.name, definitions);
        const [at] = node.arguments;
        // `data`, `data.field`, `data[i0]` of a list, `data[key0]` of a map.
        if (at.type === "Identifier") same.push(part);
        else if (!at.computed) (schema.properties ??= {})[at.property.name] = part;
        else if (at.property.type === "Literal") (schema.properties ??= {})[at.property.value] = part;
        else if (/^i\d+$/.test(at.property.name)) schema.items = part;
        else if (/^key\d+$/.test(at.property.name)) schema.additionalProperties = part;
        else fail(this.file, node, "a call of an unknown function");
      }
    }
    if (schema.oneOf) schema.oneOf = same;
    else for (const part of same) this.#merge(schema, part, definitions);
    if (schema.type === "object" && !schema.additionalProperties) {
      schema.properties ??= {};
      schema.additionalProperties = false;
    }
    return schema;
  }

  /** An embedded Go struct adds its fields to the struct around it; everything else is put next to the reference. */
  #merge(schema, part, definitions) {
    const target = part.$ref && definitions[part.$ref.replace("#/$defs/", "")];
    if (schema.type !== "object") {
      if (schema.$ref) fail(this.file, undefined, "two references in one schema");
      Object.assign(schema, part);
    } else if (target?.type === "object") {
      schema.properties = { ...target.properties, ...schema.properties };
      if (target.required) schema.required = [...(schema.required ?? []), ...target.required];
    } else {
      fail(this.file, undefined, "an object merged with a value that is not an object");
    }
  }

  #part(name, definitions) {
    if (this.functions.has(name)) return this.schema(name, definitions);
    const from = this.imports.get(name) ?? fail(this.file, undefined, `no function ${name}`);
    const file = `${from.replace(/\.js$/, "")}.js`;
    const other = Module.of(file.startsWith(".") ? join(dirname(this.file), file) : join(MODULES, file));
    return other.reference(definitions);
  }

  reference(definitions) {
    const [, full] = this.file.match(/(\w+)\.js$/);
    const name = full.replace(/^(ComGithubEnvoyproxy|IoK8sSigs|IoK8s)/, "");
    FULL.set(name, full);
    if (!(name in definitions)) {
      // The name is registered before its schema is read, because types may be recursive.
      definitions[name] = undefined;
      definitions[name] = this.schema(this.main, definitions);
    }
    return { $ref: `#/$defs/${name}` };
  }
}

/** The fields of a TypeScript type by the schema's name; true if they are required. */
class Types {
  #files = new Map();

  constructor(folders) {
    for (const folder of folders) {
      for (const name of readdirSync(folder).filter((name) => name.endsWith(".d.ts"))) {
        const text = readFileSync(join(folder, name), "utf8");
        const [, schema] = text.match(/^export type \{ I\w+ as I(\w+),/m) ?? [];
        if (schema) this.#files.set(schema, text);
      }
    }
  }

  fields(schema) {
    const text = this.#files.get(schema) ?? "";
    // A struct without fields does not have an interface.
    const isEmpty = /^export type I\w+ = \{\};/m.test(text);
    const found = text.match(/^export interface I\w+ (?:extends ([\w, ]+) )?\{\n([^]*?)^\}/m);
    const [, parents, body] = isEmpty ? ["", undefined, ""] : found ?? [];
    if (body === undefined) throw new Error(`${schema} has no interface in the packages' types`);
    const fields = new Map();
    for (const parent of parents?.split(", ") ?? []) {
      if (parent !== "TypeMeta") for (const field of this.fields(parent.slice(1))) fields.set(...field);
    }
    for (const [, name, optional] of body.matchAll(/^ {4}"(.+)"(\??): /gm)) fields.set(name, !optional);
    return fields;
  }

  /** Fails if a schema and its type do not have the same fields. */
  check(name, schema) {
    if (schema.type !== "object") return;
    const fields = this.fields(name);
    const told = (all, required) => [...all].sort().map((one) => (required(one) ? one : `${one}?`)).join(" ");
    const types = told(fields.keys(), (one) => fields.get(one));
    const schemas = told(Object.keys(schema.properties ?? {}), (one) => schema.required?.includes(one));
    if (types !== schemas) throw new Error(`${name} in the types: ${types}; in the schemas: ${schemas}`);
  }
}

function whole([name, version, prefix, kinds]) {
  return kinds.map((kind) => {
    const definitions = {};
    const file = join(MODULES, name, "_schemas", `${prefix}${kind}.js`);
    const main = Module.of(file).reference(definitions).$ref.replace("#/$defs/", "");
    for (const [name, schema] of Object.entries(definitions)) TYPES.check(FULL.get(name), schema);
    const { [main]: schema, ...$defs } = definitions;
    // Written by the cluster, not by people.
    delete schema.properties.status;
    schema.properties.metadata = METADATA;
    schema.required = [...new Set([...schema.required, "metadata"])];
    return [`${version}/${kind}`, { $defs: used($defs, schema), ...schema }];
  });
}

/** The definitions that something refers to. */
function used(all, schema) {
  const found = new Set();
  const look = (node) => {
    for (const [, name] of JSON.stringify(node).matchAll(/"#\/\$defs\/(\w+)"/g)) {
      if (!found.has(name)) {
        found.add(name);
        look(all[name]);
      }
    }
  };
  look(schema);
  return Object.fromEntries([...found].sort().map((name) => [name, all[name]]));
}

const FOLDERS = ["@kubernetes-models/apimachinery/apis/meta/v1"];
for (const [name, version] of Object.values(KINDS).flat()) FOLDERS.push(join(name, version));
const TYPES = new Types(FOLDERS.map((folder) => join(MODULES, folder)));
for (const [file, packages] of Object.entries(KINDS)) {
  // One line for each kind.
  const lines = packages.flatMap(whole).map(([kind, schema]) => `${JSON.stringify(kind)}: ${JSON.stringify(schema)}`);
  writeFileSync(join(TO, file), `{\n${lines.join(",\n")}\n}\n`);
}
