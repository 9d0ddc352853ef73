// A plugin of the Gateway that answers with the scopes that its routes are granted. Two of its paths are the Gateway's
// own under other settings.
import { getPluginRuntimeGatewayRequestScope } from "openclaw/plugin-sdk/plugin-runtime";

const granted = () => JSON.stringify(getPluginRuntimeGatewayRequestScope()?.client?.connect?.scopes ?? null);
const handler = (_request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(granted());
  return true;
};
const handleUpgrade = (_request, socket) => {
  const answer = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", `X-Granted: ${granted()}`];
  socket.end(`${answer.join("\r\n")}\r\n\r\n`);
  return true;
};

export default {
  id: "echo-scopes",
  name: "Scopes",
  description: "Answers with the scopes that the Gateway grants to a plugin's route.",
  register(api) {
    for (const path of ["/plugin", "/control-ui-config.json", "/v1/chat/completions"]) {
      api.registerHttpRoute({ path, auth: "gateway", match: "exact", handler, handleUpgrade });
    }
  },
};
