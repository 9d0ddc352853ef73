// A plugin of the Gateway that reports who sent a request, and which scopes the Gateway granted it: as JSON, or as the
// first message of a WebSocket. It has a tab in the Control UI, and a route among the Control UI's files.
import { createHash } from "node:crypto";
import { getPluginRuntimeGatewayRequestScope } from "openclaw/plugin-sdk/plugin-runtime";

function report() {
  const client = getPluginRuntimeGatewayRequestScope()?.client;
  return JSON.stringify({ user: client?.authenticatedUserProfile?.displayName ?? null, scopes: client?.connect?.scopes ?? null });
}

function handler(_request, response) {
  response.setHeader("content-type", "application/json");
  response.end(report());
  return true;
}

function handleUpgrade(request, socket) {
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const text = Buffer.from(report());
  const length = Buffer.alloc(2);
  length.writeUInt16BE(text.length);
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  // A text of up to 65,535 bytes, and a close frame with the code 1000.
  socket.end(Buffer.concat([Buffer.from([0x81, 126]), length, text, Buffer.from([0x88, 2, 0x03, 0xe8])]));
  return true;
}

export default {
  id: "report",
  name: "Report",
  register(api) {
    api.registerHttpRoute({ path: "/report", auth: "gateway", match: "prefix", handler, handleUpgrade });
    api.registerHttpRoute({ path: "/assets/report.js", auth: "gateway", match: "exact", handler });
    api.session.controls.registerControlUiDescriptor({ surface: "tab", id: "report", label: "Report", path: "/report" });
  },
};
