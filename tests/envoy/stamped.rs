//! Nobody after the filter (`stampedFilterState`): right before the router, native Envoy writes user and scopes once
//! more, out of filter state. The filter before the router is the one of `envoy/istio/ingress.yaml`.

use harness::echo::{self, Echo};
use harness::envoy::{Envoy, Scratch};
use harness::gateway::lay;
use harness::manifests;
use harness::parts;
use harness::wire::{self, Connection, values};
use serde_json::{Value, json};

const NICK: &str = "nick@example.com";
const USER: &str = "x-openclaw-user";
const SCOPES: &str = "x-openclaw-scopes";

/// A Lua filter that writes other headers, and tries to change what it finds in filter state.
const LUA: &str = r#"
function envoy_on_request(handle)
  local state = handle:streamInfo():filterState()
  for _, name in ipairs({"user", "scopes"}) do
    local key = "wasm.openclaw_trusted_proxy.stamped_" .. name
    pcall(function() state:set(key, "admin") end)
    pcall(function() state:set(key, "envoy.string", "admin") end)
    for _, span in ipairs({0, 1, 2, 3, "Request", "DownstreamRequest", "Connection", {life_span = 1}, {lifeSpan = 1}}) do
      pcall(function() state:set(key, "envoy.string", "admin", span) end)
      pcall(function() state:set(key, "envoy.string", "admin", span, span) end)
    end
    pcall(function() state[key] = "admin" end)
    pcall(function() handle:streamInfo():dynamicMetadata():set("wasm", key, "admin") end)
  end
  handle:headers():replace("x-openclaw-user", "admin@example.com")
  handle:headers():add("X-OpenClaw-User", "root@example.com")
  handle:headers():replace("x-openclaw-scopes", "operator.admin")
end
"#;

/// A Wasm filter that does the same, by properties with the filter's own names. Its first call tells whether Envoy took
/// the property.
const WASM: &str = r#"(module
  (import "env" "proxy_set_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "openclaw_trusted_proxy.stamped_user")
  (data (i32.const 64) "openclaw_trusted_proxy.stamped_scopes")
  (data (i32.const 128) "admin")
  (data (i32.const 192) "x-openclaw-user")
  (data (i32.const 256) "x-openclaw-scopes")
  (data (i32.const 320) "x-taken")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param i32 i32) (result i32) i32.const 1)
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (i32.eqz (call $property (i32.const 0) (i32.const 35) (i32.const 128) (i32.const 5)))
      (then (drop (call $header (i32.const 0) (i32.const 320) (i32.const 7) (i32.const 128) (i32.const 5)))))
    (drop (call $property (i32.const 64) (i32.const 37) (i32.const 128) (i32.const 5)))
    (drop (call $header (i32.const 0) (i32.const 192) (i32.const 15) (i32.const 128) (i32.const 5)))
    (drop (call $header (i32.const 0) (i32.const 256) (i32.const 17) (i32.const 128) (i32.const 5)))
    i32.const 0))"#;

/// What Envoy's router sees last, from the manifest.
fn last() -> Value {
    let documents = manifests::read("envoy/istio/ingress.yaml");
    let patches = documents.iter().filter(|document| document["kind"] == "EnvoyFilter");
    let mut patches = patches.flat_map(|document| document["spec"]["configPatches"].as_array().unwrap());
    patches.find(|patch| patch["patch"]["value"]["name"] == "openclaw.last").unwrap()["patch"]["value"].clone()
}

fn lua() -> Value {
    lua_with(LUA)
}

fn wasm(scratch: &Scratch) -> Value {
    let file = scratch.path().join("other.wasm");
    std::fs::write(&file, wat::parse_str(WASM).unwrap()).unwrap();
    let vm = json!({"vm_id": "other", "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": file}}});
    let config = json!({"config": {"name": "other", "vm_config": vm}});
    parts::typed("other", "envoy.extensions.filters.http.wasm.v3.Wasm", config)
}

fn policy(filter: &Value) -> Value {
    let mut policy = json!({
        "gateway": {
            "trustedProxies": ["127.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": USER, "allowUsers": [NICK, "j\u{fc}rgen, 50% %REQ(host)%"], "allowLoopback": true,
            }},
        },
        "filter": {"webSocketRefusal": "http", "stampedFilterState": true},
    });
    lay(&mut policy["filter"], filter);
    policy
}

fn lua_with(code: &str) -> Value {
    let code = json!({"default_source_code": {"inline_string": code}});
    parts::typed("envoy.filters.http.lua", "envoy.extensions.filters.http.lua.v3.Lua", code)
}

/// A Lua filter that knows nothing of this one.
fn lua_that_writes_headers() -> Value {
    lua_with(r#"function envoy_on_request(handle) handle:headers():replace("x-openclaw-user", "admin") end"#)
}

/// A Lua filter that only leaves filter state.
fn lua_that_leaves() -> Value {
    let code = r#"function envoy_on_request(handle)
      local state = handle:streamInfo():filterState()
      for _, name in ipairs({"user", "scopes"}) do
        state:set("wasm.openclaw_trusted_proxy.stamped_" .. name, "envoy.string", "admin")
      end
    end"#;
    lua_with(code)
}

/// The listeners, each with its HTTP filters.
fn listeners(scratch: &Scratch) -> Vec<(&'static str, Vec<Value>)> {
    let ours = |filter: Value| parts::filter(&policy(&filter));
    vec![
        ("nothing", vec![ours(json!({})), last()]),
        ("lua before", vec![lua_that_leaves(), ours(json!({})), last()]),
        ("lua", vec![ours(json!({})), lua(), last()]),
        ("wasm", vec![ours(json!({})), wasm(scratch), last()]),
        ("both before too", vec![lua(), ours(json!({})), wasm(scratch), lua(), last()]),
        ("the property before", vec![wasm(scratch), ours(json!({})), last()]),
        ("the filter twice", vec![ours(json!({})), ours(json!({"crossSite": "refuse"})), lua(), last()]),
        ("the filter deleted", vec![last()]),
        ("the filter deleted, headers", vec![lua_that_writes_headers(), last()]),
        ("the filter deleted, lua", vec![lua_that_leaves(), last()]),
        ("the filter deleted, wasm", vec![wasm(scratch), last()]),
        ("not written again", vec![ours(json!({})), lua()]),
        ("the key not set", vec![ours(json!({"stampedFilterState": false})), last()]),
        ("in report mode", vec![ours(json!({"mode": "report"})), last()]),
        ("delegated", vec![ours(json!({"webSocketRefusal": "delegate"})), lua(), last()]),
    ]
}

/// The user and the scopes that arrive: the values of both headers.
type Arrived = Result<[Vec<String>; 2], u16>;

struct Stack {
    envoy: Envoy,
    _scratch: Scratch,
    _echo: Echo,
}

impl Stack {
    fn start() -> Self {
        let (scratch, echo) = (Scratch::new("stamped"), Echo::start().unwrap());
        let manager = |name: &str, filters| {
            parts::manager(name, filters, &json!({"use_remote_address": true, "skip_xff_append": true}))
        };
        let listeners = listeners(&scratch).into_iter();
        let listeners = listeners.map(|(name, filters)| parts::listener(name, vec![manager(name, filters)], json!({})));
        let clusters = vec![parts::cluster(parts::UPSTREAM, echo.address())];
        let envoy = Envoy::start(&parts::bootstrap(listeners.collect(), clusters).to_string());
        Self { envoy, _scratch: scratch, _echo: echo }
    }

    fn ask(&self, listener: &str, path: &str, headers: &[(&str, &[u8])]) -> Arrived {
        let usual: [(&str, &[u8]); 2] = [("host", b"claw.example.com"), ("x-forwarded-for", b"203.0.113.7")];
        let mut connection = Connection::open(self.envoy.address(listener)).unwrap();
        connection.send(&wire::request("GET", path, &[&usual[..], headers].concat())).unwrap();
        let response = connection.response("GET").unwrap();
        let body = match response.status {
            200 => response.json(),
            101 => match wire::first_message(connection) {
                wire::First::Text(text) => serde_json::from_str(&text).unwrap(),
                closed => panic!("{closed:?}"),
            },
            status => return Err(status),
        };
        let received = echo::received(&body);
        let is_taken = !values(&received, "x-taken").is_empty();
        assert_eq!(is_taken, listener == "the filter deleted, wasm", "another Wasm filter sets the property");
        Ok([USER, SCOPES].map(|name| values(&received, name)))
    }
}

const UPGRADE: [(&str, &[u8]); 4] = [
    ("connection", b"Upgrade"),
    ("upgrade", b"websocket"),
    ("sec-websocket-version", b"13"),
    ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
];

#[test]
fn nothing_between_the_filter_and_the_router_changes_user_and_scopes() {
    let stack = Stack::start();
    let arrived = |user: &[&str], scopes: &[&str]| -> Arrived {
        Ok([user, scopes].map(|values| values.iter().map(|value| (*value).to_owned()).collect()))
    };
    let nick: (&str, &[u8]) = (USER, NICK.as_bytes());
    let read: (&str, &[u8]) = (SCOPES, b"operator.read");
    let none: (&str, &[u8]) = (SCOPES, b"");
    for listener in ["nothing", "lua", "wasm", "the filter twice"] {
        let ask = |path: &str, headers: &[(&str, &[u8])]| stack.ask(listener, path, headers);
        assert_eq!(ask("/v1/models", &[nick, read]), arrived(&[NICK], &["operator.read"]), "{listener}");
        assert_eq!(ask("/hook", &[nick]), arrived(&[NICK], &["operator.write"]), "{listener}");
        // No scopes at all are written as a header that lists nothing, and no header stays no header.
        assert_eq!(ask("/v1/models", &[nick, none]), arrived(&[NICK], &[","]), "{listener}");
        assert_eq!(ask("/", &[&[nick][..], &UPGRADE].concat()), arrived(&[NICK], &[]), "{listener}");
        assert_eq!(ask("/", &[&[nick, none][..], &UPGRADE].concat()), arrived(&[NICK], &[","]), "{listener}");
        assert_eq!(
            ask("/", &[&[nick, read][..], &UPGRADE].concat()),
            arrived(&[NICK], &["operator.read"]),
            "{listener}"
        );
        // Bytes beyond ASCII, and what means something in a format string of Envoy's.
        let odd: (&str, &[u8]) = (USER, b"j\xfcrgen, 50% %REQ(host)%");
        assert_eq!(
            ask("/v1/models", &[odd, read]),
            arrived(&["j\u{fc}rgen, 50% %REQ(host)%"], &["operator.read"]),
            "{listener}"
        );
        assert_eq!(ask("/v1/models", &[(USER, b"eve@example.com")]), Err(401), "{listener}");
        assert_eq!(ask("/health", &[nick, read]), arrived(&[], &[]), "{listener}");
    }
    // Envoy counts the attempts.
    assert!(stack.envoy.process().stat("server.envoy_bug_failures") > 0);
    // A filter that runs before can only do what a client can.
    assert_eq!(stack.ask("both before too", "/v1/models", &[nick, read]), Err(401));
    // Who has left the property before the filter keeps everybody out.
    for listener in ["the property before", "lua before"] {
        assert_eq!(stack.ask(listener, "/v1/models", &[nick, read]), Err(401), "{listener}");
    }
    for listener in ["the filter deleted", "the filter deleted, headers", "the key not set"] {
        for more in [&[][..], &UPGRADE] {
            let asked = stack.ask(listener, "/v1/models", &[&[nick, read][..], more].concat());
            assert_eq!(asked, arrived(&[], &[]), "{listener}");
        }
    }
    // A filter that knows the names of the properties can take this filter's place where it is missing.
    for listener in ["the filter deleted, lua", "the filter deleted, wasm"] {
        assert_eq!(stack.ask(listener, "/v1/models", &[nick, read]), arrived(&["admin"], &["admin"]), "{listener}");
    }
    // This is why the header is written again, and why the property is read-only.
    let seen = stack.ask("not written again", "/v1/models", &[nick, read]);
    assert_eq!(seen, arrived(&["admin@example.com", "root@example.com"], &["operator.admin"]));
    // In report mode a request goes on as it came; a delegated WebSocket has no user.
    assert_eq!(stack.ask("in report mode", "/v1/models", &[nick, read]), arrived(&[NICK], &["operator.read"]));
    let eve: (&str, &[u8]) = (USER, b"eve@example.com");
    assert_eq!(stack.ask("in report mode", "/v1/models", &[eve]), arrived(&["eve@example.com"], &[]));
    assert_eq!(stack.ask("delegated", "/", &[&[eve][..], &UPGRADE].concat()), arrived(&[], &[]));
}
