// What the Gateway itself would decide: runs its package's decision functions on one request per line.
//
//   OPENCLAW_PKG=… OPENCLAW_STATE_DIR=… node oracle.mjs        JSON lines in and out, in the same order
//
// In: {"surface": "http" or "ws", "remoteAddr", "method", "path", "headers": [[name, base64 of the value], …],
// "config": {"gateway": …}, "route": "api", "plugin", "control-ui-read" or "socket"}. Out: {"ok", "user", "reason",
// "scopes"}, and "file" if it is a file that the Control UI serves to everybody, whatever the origin.
//
// Node's own HTTP server parses each request, so headers are joined, decoded and trimmed by Node. The functions come
// from the package; what the handlers around them do is done here, in the same order. A WebSocket represents a client
// with a device that requests every scope: such a client needs no Origin, and its result shows the limit set by the
// scopes header.
//
// The package's files are named after hashes. A function is found by the `//#region <source file>` marker above it. A
// function that its file does not export is exported in memory, by a hook on module loading. Nothing is written.
//
// Left out, so that only the case decides: the addresses of this machine, rate limits, credentials in the
// environment, and everything that needs a Gateway's state (profiles, pairing).
import fs from "node:fs";
import http from "node:http";
import { registerHooks } from "node:module";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { Duplex } from "node:stream";
import { fileURLToPath, pathToFileURL } from "node:url";

const NEEDED = {
  "src/gateway/auth.ts": ["authorizeHttpGatewayConnect", "authorizeControlUiReadHttpGatewayConnect"],
  "src/gateway/auth-resolve.ts": ["resolveGatewayAuthForConfig"],
  "src/gateway/ingress-attribution.ts": ["prepareGatewayIngressAttribution", "markGatewayIngressTransport"],
  "src/gateway/origin-check.ts": ["resolveBrowserOriginPolicy"],
  "src/gateway/http-header-value.ts": ["getBearerToken"],
  "src/gateway/http-auth-utils.ts": ["resolveSharedSecretHttpOperatorScopes", "resolveControlUiReadOperatorScopes"],
  "src/gateway/control-ui.ts": ["handleControlUiHttpRequest"],
  "src/gateway/server/plugin-route-runtime-scopes.ts": ["resolvePluginRouteRuntimeOperatorScopes"],
  "src/gateway/server/ws-origin-policy.ts": ["resolveGatewayWsBrowserOrigin", "checkGatewayWsBrowserOrigin"],
  "src/gateway/server/ws-connection/auth-context.ts": ["resolveConnectAuthState"],
  "src/gateway/server/ws-connection/handshake-auth-helpers.ts": ["resolveHandshakeBrowserSecurityContext"],
  "src/gateway/server/ws-connection/connect-admission.ts": ["resolveEffectiveConnectionScopes"],
};
const OPERATOR_SCOPES = [
  "operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.questions", "operator.pairing",
  "operator.talk.secrets", "operator.talk", "operator.sessions.read", "operator.sessions.write",
];

/** A connection without a network, for Node's HTTP server. */
class Wire extends Duplex {
  constructor(remoteAddress) {
    super();
    Object.assign(this, {
      remoteAddress, remotePort: 40000, remoteFamily: remoteAddress.includes(":") ? "IPv6" : "IPv4",
      localAddress: "192.0.2.1", localPort: 18789, sent: "",
    });
  }
  _read() {}
  _write(chunk, _encoding, done) { this.sent += chunk.toString("latin1"); this.emit("said"); done(); }
  setTimeout() { return this; }
  setNoDelay() { return this; }
  setKeepAlive() { return this; }
  ref() { return this; }
  unref() { return this; }
}

/** An answer that nobody receives, for the Control UI's handler. */
class Answer extends http.ServerResponse {
  constructor(request) {
    super(request);
    this.assignSocket(new Wire("127.0.0.1"));
  }
}

const gateway = await load(fs.realpathSync(path.join(process.env.OPENCLAW_PKG, "dist")));
os.networkInterfaces = () => ({});
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer;
  try { answer = await decide(JSON.parse(line)); } catch (error) { answer = { error: String(error?.stack ?? error) }; }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);

async function load(dist) {
  const declared = (name) => new RegExp(`^(?:async )?function (${name}(?:\\$\\d+)?)\\(`, "m");
  const found = new Map(); // file -> { name: the name that it has inside }
  for (const file of fs.readdirSync(dist).filter((name) => name.endsWith(".mjs"))) {
    const place = path.join(dist, file), text = fs.readFileSync(place, "utf8");
    for (const [source, names] of Object.entries(NEEDED)) {
      if (!text.includes(`//#region ${source}\n`)) continue;
      for (const name of names) {
        const inside = text.match(declared(name))?.[1];
        if (inside && ![...found.values()].some((other) => name in other)) found.set(place, { ...found.get(place), [name]: inside });
      }
    }
  }
  registerHooks({
    load(url, context, next) {
      const result = next(url, context);
      const names = url.startsWith("file:") ? found.get(fileURLToPath(url)) : undefined;
      if (!names) return result;
      const list = Object.entries(names).map(([name, inside]) => `${inside} as __oracle_${name}`).join(", ");
      return { ...result, source: `${Buffer.from(result.source).toString("utf8")}\nexport { ${list} };\n` };
    },
  });
  const all = {};
  for (const [place, names] of found) {
    const module = await import(pathToFileURL(place).href);
    for (const name of Object.keys(names)) all[name] = module[`__oracle_${name}`];
  }
  const missing = Object.values(NEEDED).flat().filter((name) => typeof all[name] !== "function");
  if (missing.length > 0) throw new Error(`this Gateway has no ${missing.join(", ")}: is it another version?`);
  return all;
}

/** The request as the Gateway's server receives it; null if Node itself refuses it. */
function parse(one) {
  const parts = [Buffer.from(`${one.method} ${one.path} HTTP/1.1\r\n`, "latin1")];
  for (const [name, value] of one.headers) parts.push(Buffer.from(`${name}: `, "latin1"), Buffer.from(value, "base64"), Buffer.from("\r\n"));
  const wire = new Wire(one.remoteAddr);
  return new Promise((resolve) => {
    const done = (request) => { resolve(request); setImmediate(() => wire.destroy()); };
    const server = http.createServer();
    for (const event of ["request", "checkContinue", "checkExpectation", "upgrade"]) server.on(event, done);
    for (const event of ["clientError", "connect"]) server.on(event, () => done(null));
    wire.on("said", () => done(null));
    server.emit("connection", wire);
    wire.push(Buffer.concat([...parts, Buffer.from("\r\n")]));
  });
}

async function decide(one) {
  const req = await parse(one);
  if (!req) return { error: "Node refuses it" };
  gateway.markGatewayIngressTransport(req, { kind: "ordinary" });
  const cfg = one.config;
  const setting = {
    req,
    auth: gateway.resolveGatewayAuthForConfig({ config: cfg, env: {}, tailscaleMode: "off" }),
    trustedProxies: cfg.gateway.trustedProxies ?? [],
    allowRealIpFallback: cfg.gateway.allowRealIpFallback === true,
  };
  const attribution = gateway.prepareGatewayIngressAttribution(setting);
  if (attribution.kind === "unattributable-proxy") return { ok: false, reason: attribution.reason };
  // An upgrade that a plugin takes is authorized like a request to its route.
  const isOwn = one.surface === "ws" && one.route !== "plugin";
  return isOwn ? decideWebSocket(cfg, setting, attribution) : decideHttp(one, cfg, setting);
}

/** Whether the Control UI answers this request with a file, or with the lack of one, without authorizing anybody. */
async function servesFile(req, cfg, setting) {
  const answer = new Answer(req);
  const handled = await gateway.handleControlUiHttpRequest(req, answer, {
    ...setting, cfg, config: cfg, basePath: cfg.gateway.controlUi?.basePath,
    root: { kind: "bundled", path: path.join(process.env.OPENCLAW_PKG, "dist/control-ui") },
  });
  const type = String(answer.getHeader("content-type") ?? "");
  return handled && [200, 404].includes(answer.statusCode) && !type.startsWith("text/html");
}

async function decideHttp(one, cfg, setting) {
  const { req } = setting;
  const file = one.route === "plugin" && await servesFile(req, cfg, setting);
  if (file) delete req.headers.origin;
  const token = gateway.getBearerToken(req);
  // Other methods are not the Control UI's.
  const reads = one.route === "control-ui-read" && (["GET", "HEAD"].includes(req.method) || one.media);
  const authorize = reads ? gateway.authorizeControlUiReadHttpGatewayConnect : gateway.authorizeHttpGatewayConnect;
  const result = await authorize({
    ...setting, connectAuth: token ? { token, password: token } : null, rateLimiter: undefined,
    browserOriginPolicy: gateway.resolveBrowserOriginPolicy({ req, cfg }),
  });
  if (!result.ok) return { ok: false, reason: result.reason };
  const requestAuth = { authMethod: result.method, trustDeclaredOperatorScopes: result.method !== "token" && result.method !== "password" };
  const scopes = one.route === "plugin" ? gateway.resolvePluginRouteRuntimeOperatorScopes(req, requestAuth)
    : one.route === "control-ui-read" ? gateway.resolveControlUiReadOperatorScopes(req, result.method, undefined, undefined)
    : gateway.resolveSharedSecretHttpOperatorScopes(req, requestAuth);
  return { ok: true, user: result.user, scopes, ...(file && { file }) };
}

async function decideWebSocket(cfg, setting, attribution) {
  const { req, auth, trustedProxies, allowRealIpFallback } = setting;
  const client = { id: "cli", mode: "cli" };
  const origin = req.headers.origin;
  const security = gateway.resolveHandshakeBrowserSecurityContext({ requestOrigin: origin, clientIp: attribution.rateLimit.subject.key });
  const governed = gateway.resolveGatewayWsBrowserOrigin({
    client, origin, requestHost: req.headers.host, isLocalClient: attribution.kind === "direct-local",
    enforceOriginCheckForAnyClient: security.enforceOriginCheckForAnyClient,
  });
  if (governed) {
    const verdict = gateway.checkGatewayWsBrowserOrigin(governed, cfg);
    if (!verdict.ok) return { ok: false, reason: verdict.reason };
  }
  const { authResult } = await gateway.resolveConnectAuthState({
    resolvedAuth: auth, connectAuth: null, hasDeviceIdentity: true, req, trustedProxies, allowRealIpFallback,
    rateLimiter: undefined, clientIp: security.rateLimitClientIp,
  });
  if (!authResult.ok) return { ok: false, reason: authResult.reason };
  const { scopes } = gateway.resolveEffectiveConnectionScopes({
    role: "operator", deviceScopes: OPERATOR_SCOPES, verifiedIdentity: authResult.user?.trim() || undefined,
    identityScopes: cfg.gateway.auth.identityScopes, upgradeReq: req,
  });
  return { ok: true, user: authResult.user, scopes };
}
