"""The client library `websockets`, driven as client.mjs is: a question a line, an answer a line, until the input ends."""

import json
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

PATIENCE = 60


def websocket(question):
    """Opens a WebSocket and reports what happened, as `converse` in client.mjs does."""
    url = question["url"]
    trust = ssl.create_default_context(cafile=sys.argv[1]) if url.startswith("wss:") else None
    seen = {"opened": False, "protocol": "", "messages": []}
    with connect(
        url,
        additional_headers=question.get("headers") or {},
        subprotocols=question.get("protocols") or None,
        ssl=trust,
        proxy=None,
        open_timeout=PATIENCE,
        close_timeout=PATIENCE,
    ) as socket:
        seen.update(opened=True, protocol=socket.subprotocol or "")
        try:
            seen["messages"].append(socket.recv(timeout=PATIENCE))
            if "say" in question:
                socket.send(question["say"])
                seen["messages"].append(socket.recv(timeout=PATIENCE))
        except ConnectionClosed:
            pass
    frame = socket.protocol.close_rcvd
    return seen | {"code": frame.code if frame else 1006, "reason": frame.reason if frame else "", "clean": frame is not None}


print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    try:
        answer = websocket(json.loads(line))
    except Exception as error:  # whatever it is, the test shows it
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
