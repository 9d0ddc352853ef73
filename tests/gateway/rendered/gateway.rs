//! The output of `render` for both hops works together: a real Gateway with the rendered block behind a real Envoy
//! with the rendered bootstrap.

use std::fs;

use harness::envoy::Scratch;
use harness::gateway::{Gateway, Options};
use harness::oracle::validate;
use serde_json::Value;

use super::site::{BEHIND_A_PROXY, OPENCLAW, ask_behind_a_proxy, deploy, tool};

fn gateway_block(folder: &Scratch, arguments: &[&str]) -> String {
    tool(folder.path(), &[&["render", "gateway", "openclaw.json"], arguments].concat()).with(0)
}

#[test]
fn the_gateway_calls_every_rendered_block_valid() {
    let folder = Scratch::new("rendered-gateway");
    fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
    for arguments in [&["--envoy", "10.0.0.2", "--envoy", "fd00::2"][..], &["--envoy", "127.0.0.6"]] {
        let text = gateway_block(&folder, arguments);
        validate(&text).unwrap_or_else(|said| panic!("{said}\n{text}"));
        assert!(validate(&text.replace("\"trusted-proxy\"", "\"trusted\"")).is_err(), "the check can also fail");
    }
}

#[test]
fn the_rendered_envoy_and_the_rendered_gateway_let_the_same_people_in() {
    let folder = Scratch::new("rendered-both");
    fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
    let block: Value = json5::from_str(&gateway_block(&folder, &["--envoy", "127.0.0.1"])).unwrap();
    let gateway = Gateway::start(&block, &Options::default());
    let envoy = deploy(folder, "openclaw.json", gateway.address(), &BEHIND_A_PROXY);
    let page = |peer: &str, user: Option<&str>| {
        let mut headers = vec![("x-edge-secret", "1")];
        headers.extend(user.map(|user| ("x-forwarded-user", user)));
        let response = ask_behind_a_proxy(&envoy, peer, "/openclaw/control-ui-config.json", &headers);
        let reason = response.json()["error"]["reason"].as_str().map(str::to_owned);
        (response.status, reason)
    };
    assert_eq!(page("10.0.0.1", Some("nick@example.com")), (200, None), "{}", gateway.log());
    for (peer, user, reason) in [
        ("10.0.0.1", Some("eve@example.com"), "trusted_proxy_user_not_allowed"),
        ("10.0.0.1", None, "trusted_proxy_user_missing"),
        ("10.0.0.2", Some("nick@example.com"), "trusted_proxy_untrusted_source"),
    ] {
        assert_eq!(page(peer, user), (401, Some(reason.to_owned())));
    }
}
