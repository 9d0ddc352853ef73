// What the Gateway itself would decide: runs its package's decision functions on one request per line.
//
//   OPENCLAW_PKG=… OPENCLAW_STATE_DIR=… node oracle.mjs [--older]        JSON lines in and out, in the same order
//
// In: {"surface": "http" or "ws", "remoteAddr", "method", "path", "headers": [[name, base64 of the value], …],
// "config": {"gateway": …}, "route": "api", "plugin", "control-ui-read" or "socket", "files": whether to ask for
// files}. Out: {"ok", "user", "reason", "scopes"}, and "file" if it is a file that the Control UI serves to
// everybody, whatever the origin.
//
// Node's own HTTP server parses each request, so headers are joined, decoded and trimmed by Node. The functions come
// from the package; what the handlers around them do is done here, in the same order. A WebSocket represents a client
// with a device that requests every scope: such a client needs no Origin, and its result shows the limit set by the
// scopes header.
//
// With --older, a function of the newest Gateway may be missing, and an older one takes its place.
//
// Left out, so that only the case decides: the addresses of this machine, rate limits, credentials in the
// environment, and everything that needs a Gateway's state (profiles, pairing).
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { Duplex } from "node:stream";
import { load } from "./functions.mjs";

/** For each need, the function of the newest Gateway, and then those that older ones have instead. */
const NEEDED = [
  ["authorizeHttpGatewayConnect"],
  ["authorizeControlUiReadHttpGatewayConnect", null],
  ["resolveGatewayAuthForConfig", "resolveGatewayAuth"],
  ["prepareGatewayIngressAttribution", "isLocalDirectRequest"],
  ["markGatewayIngressTransport", null],
  ["resolveBrowserOriginPolicy", "resolveHttpBrowserOriginPolicy"],
  ["getBearerToken"],
  ["resolveSharedSecretHttpOperatorScopes", "resolveOpenAiCompatibleHttpOperatorScopes"],
  ["resolveControlUiReadOperatorScopes", null],
  ["resolvePluginRouteRuntimeOperatorScopes", null],
  ["handleControlUiHttpRequest", null],
  ["resolveGatewayWsBrowserOrigin", "checkBrowserOrigin"],
  ["checkGatewayWsBrowserOrigin", "checkBrowserOrigin"],
  ["resolveConnectAuthState"],
  ["resolveHandshakeBrowserSecurityContext"],
  ["resolveEffectiveConnectionScopes", "resolveTrustedProxyControlUiScopes", null],
];
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

const isOlder = process.argv.includes("--older");
const wanted = new Set(NEEDED.flatMap((names) => (isOlder ? names : names.slice(0, 1))).filter(Boolean));
const gateway = await load(fs.realpathSync(path.join(process.env.OPENCLAW_PKG, "dist")), [...wanted]);
const has = (name) => name === null || typeof gateway[name] === "function";
const missing = NEEDED.filter((names) => !(isOlder ? names.some(has) : has(names[0])));
if (missing.length > 0) throw new Error(`this Gateway has no ${missing.join("; ")}: is it another version?`);
os.networkInterfaces = () => ({});
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer;
  try { answer = await decide(JSON.parse(line)); } catch (error) { answer = { error: String(error?.stack ?? error) }; }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);

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
  gateway.markGatewayIngressTransport?.(req, { kind: "ordinary" });
  const cfg = one.config;
  const setting = {
    req,
    auth: has("resolveGatewayAuthForConfig") ? gateway.resolveGatewayAuthForConfig({ config: cfg, env: {}, tailscaleMode: "off" })
      : gateway.resolveGatewayAuth({ authConfig: cfg.gateway.auth, env: {}, tailscaleMode: "off" }),
    trustedProxies: cfg.gateway.trustedProxies ?? [],
    allowRealIpFallback: cfg.gateway.allowRealIpFallback === true,
  };
  const attribution = gateway.prepareGatewayIngressAttribution?.(setting) ?? {
    kind: gateway.isLocalDirectRequest(req, setting.trustedProxies, setting.allowRealIpFallback) ? "direct-local" : "none",
    rateLimit: { subject: { key: one.remoteAddr } },
  };
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
  const mayBeFile = one.files && one.surface === "http" && one.route === "plugin" && cfg.gateway.controlUi?.enabled !== false;
  const file = mayBeFile && await servesFile(req, cfg, setting);
  if (file) delete req.headers.origin;
  const token = gateway.getBearerToken(req);
  // Other methods are not the Control UI's.
  const reads = one.route === "control-ui-read" && (["GET", "HEAD"].includes(req.method) || one.media);
  const strict = reads ? gateway.authorizeControlUiReadHttpGatewayConnect : undefined;
  const authorize = strict ?? gateway.authorizeHttpGatewayConnect;
  const result = await authorize({
    ...setting, connectAuth: token ? { token, password: token } : null, rateLimiter: undefined,
    browserOriginPolicy: has("resolveBrowserOriginPolicy") ? gateway.resolveBrowserOriginPolicy({ req, cfg })
      : gateway.resolveHttpBrowserOriginPolicy(req, cfg),
  });
  if (!result.ok) return { ok: false, reason: result.reason };
  const requestAuth = { authMethod: result.method, trustDeclaredOperatorScopes: result.method !== "token" && result.method !== "password" };
  const ofApi = gateway.resolveSharedSecretHttpOperatorScopes ?? gateway.resolveOpenAiCompatibleHttpOperatorScopes;
  const ofReads = (gateway.resolveControlUiReadOperatorScopes ?? ((request) => ofApi(request, requestAuth)));
  const ofPlugins = gateway.resolvePluginRouteRuntimeOperatorScopes ?? (() => ["operator.write"]);
  const scopes = one.route === "plugin" ? ofPlugins(req, requestAuth)
    : one.route === "control-ui-read" ? ofReads(req, result.method, undefined, undefined)
    : ofApi(req, requestAuth);
  return { ok: true, user: result.user, scopes, ...(file && { file }) };
}

async function decideWebSocket(cfg, setting, attribution) {
  const { req, auth, trustedProxies, allowRealIpFallback } = setting;
  const client = { id: "cli", mode: "cli" };
  const origin = req.headers.origin;
  const security = gateway.resolveHandshakeBrowserSecurityContext({ requestOrigin: origin, clientIp: attribution.rateLimit.subject.key });
  const isLocalClient = attribution.kind === "direct-local";
  const { enforceOriginCheckForAnyClient } = security;
  const verdict = checkOrigin(cfg, { client, origin, requestHost: req.headers.host, isLocalClient, enforceOriginCheckForAnyClient });
  if (!verdict.ok) return { ok: false, reason: verdict.reason };
  const { authResult } = await gateway.resolveConnectAuthState({
    resolvedAuth: auth, connectAuth: null, hasDeviceIdentity: true, req, trustedProxies, allowRealIpFallback,
    rateLimiter: undefined, clientIp: security.rateLimitClientIp,
  });
  if (!authResult.ok) return { ok: false, reason: authResult.reason };
  const scopes = has("resolveEffectiveConnectionScopes") ? gateway.resolveEffectiveConnectionScopes({
    role: "operator", deviceScopes: OPERATOR_SCOPES, verifiedIdentity: authResult.user?.trim() || undefined,
    identityScopes: cfg.gateway.auth.identityScopes, upgradeReq: req,
  }).scopes
    // For the Control UI alone.
    : gateway.resolveTrustedProxyControlUiScopes?.({ requestedScopes: OPERATOR_SCOPES, upgradeReq: req }) ?? OPERATOR_SCOPES;
  return { ok: true, user: authResult.user, scopes };
}

function checkOrigin(cfg, asked) {
  if (has("resolveGatewayWsBrowserOrigin")) {
    const governed = gateway.resolveGatewayWsBrowserOrigin(asked);
    return governed ? gateway.checkGatewayWsBrowserOrigin(governed, cfg) : { ok: true };
  }
  if (!asked.enforceOriginCheckForAnyClient) return { ok: true };
  const { allowedOrigins, dangerouslyAllowHostHeaderOriginFallback: fallback } = cfg.gateway.controlUi ?? {};
  const { requestHost, origin, isLocalClient } = asked;
  return gateway.checkBrowserOrigin({ requestHost, origin, allowedOrigins, allowHostHeaderOriginFallback: fallback === true, isLocalClient });
}
