//! The gateway block for a Gateway behind the filter.

use serde_json::{Map, Value, json};

use super::closed::user_header;
use super::policy::Plugin;
use super::{NotRendered, Rendered, Rendering, Source, address};
use crate::output::plain_json;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    /// The address of an Envoy with the filter, as the Gateway sees it; may be repeated
    #[arg(long, value_name = "IP", required = true)]
    envoy: Vec<String>,
}

/// Renders `{"gateway": …}` for openclaw.json.
pub fn render(args: &Args, plugin: &Plugin) -> Result<Rendering, NotRendered> {
    let envoys = args.envoy.iter().map(|text| address("--envoy", text)).collect::<Result<Vec<_>, _>>()?;
    let loopback = envoys.iter().any(|envoy| envoy.is_loopback());
    let only_loopback = envoys.iter().all(|envoy| envoy.is_loopback());

    let read = &plugin.gateway;
    let trusted = read.get("auth").and_then(|auth| auth.get("trustedProxy")).and_then(Value::as_object);
    let mut trusted = trusted.cloned().unwrap_or_default();
    let user = user_header(plugin);
    trusted.insert("userHeader".to_owned(), json!(user));
    trusted.remove("allowLoopback");
    if loopback {
        trusted.insert("allowLoopback".to_owned(), true.into());
    }
    let mut gateway = Map::from_iter([
        ("bind".to_owned(), json!(if only_loopback { "loopback" } else { "lan" })),
        ("trustedProxies".to_owned(), json!(args.envoy)),
        ("auth".to_owned(), json!({"mode": "trusted-proxy", "trustedProxy": trusted})),
    ]);
    for key in ["allowRealIpFallback", "controlUi", "http"] {
        if let Some(value) = read.get(key) {
            gateway.insert(key.to_owned(), value.clone());
        }
    }

    let mut todo = vec![
        "replace the same keys in your openclaw.json with these; keep all other keys".to_owned(),
        "remove auth.token, remote.token and OPENCLAW_GATEWAY_TOKEN: the Gateway refuses to start with any of them"
            .to_owned(),
        if only_loopback {
            "run nothing but the Gateway and Envoy on this host: every process on it is trusted".to_owned()
        } else {
            "close the Gateway's port to everything but Envoy".to_owned()
        },
        format!("put the filter in place first: it writes {user}, in which this Gateway reads the user"),
        "configure what users may do: auth.identityScopes or deviceAutoApprove".to_owned(),
    ];
    todo.extend(plugin.todo.iter().cloned());
    let origins = read.get("controlUi").and_then(|ui| ui.get("allowedOrigins")).and_then(Value::as_array);
    if origins.is_none_or(Vec::is_empty) {
        todo.push("list the Control UI's origin in controlUi.allowedOrigins, here and in the policy".to_owned());
    }
    let text = format!("{}\n", plain_json(&format!("{:#}", json!({"gateway": gateway}))));
    Ok(Rendering { files: vec![Rendered { name: "openclaw.json", text }], todo, comment: "//" })
}
