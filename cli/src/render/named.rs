//! What a configuration lacks of an identity proxy that `--proxy` names.

use policy::names::is_built_in;
use serde_json::{Map, Value, json};

use super::closed::OWN;
use crate::proxies::Proxy;

/// The proxy, and what else is said of what is in front.
pub struct Missing<'a> {
    pub proxy: &'static Proxy,
    /// The addresses of proxies.
    pub addresses: Vec<String>,
    /// The proxy's user header, if it is not the usual one.
    pub user_header: Option<&'a str>,
    /// Whether there is no configuration.
    pub is_all: bool,
}

impl Missing<'_> {
    /// Fills in what is missing. What is set stays, and is left to `check --proxy`.
    pub fn fill(self, whole: &mut Value, todo: &mut Vec<String>) {
        if !self.addresses.is_empty() {
            add(whole, &["gateway"], Map::from_iter([("trustedProxies".to_owned(), json!(self.addresses))]));
        }
        fill(whole, self.proxy, self.user_header, todo);
        if self.is_all {
            todo.push(
                "write an openclaw.json with allowUsers and controlUi.allowedOrigins, and render again: without them, \
                 every user of the proxy is let in, but no browser"
                    .to_owned(),
            );
        }
    }
}

/// `header` is the proxy's user header, if it is not the usual one.
fn fill(whole: &mut Value, proxy: &Proxy, header: Option<&str>, todo: &mut Vec<String>) {
    let is_edge = whole.pointer("/filter/edge") == Some(&true.into());
    let (Some(usual), false) = (proxy.users.first(), is_edge) else { return };
    let text = |pointer: &str| whole.pointer(pointer).and_then(Value::as_str).map(|text| text.trim().to_owned());
    let upstream = text("/filter/upstreamUserHeader").unwrap_or_else(|| OWN.to_owned());
    // The Gateway's own header is not the proxy's.
    let theirs = text("/gateway/auth/trustedProxy/userHeader")
        .filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(&upstream));
    let user = header.map(str::to_owned).or(theirs).unwrap_or_else(|| (*usual).to_owned());
    if !proxy.names_users_in(&user) || proxy.encoded_as(&user).is_some() {
        todo.push(format!(
            "check the user header {user}: {} names the user in {}",
            proxy.title,
            proxy.users.join(", ")
        ));
    }

    let mut trusted = Map::new();
    trusted.insert("userHeader".to_owned(), json!(user));
    let mut filter = Map::new();
    if !proxy.prefix.is_empty() {
        filter.insert("userPrefix".to_owned(), json!(proxy.prefix));
    }
    if let Some(assertion) = &proxy.assertion {
        if assertion.is_always_sent {
            trusted.insert("requiredHeaders".to_owned(), json!([assertion.header]));
        }
        todo.push(if assertion.not_by_envoy.is_empty() {
            let issuer =
                if assertion.issuer.is_empty() { String::new() } else { format!("issuer: {}; ", assertion.issuer) };
            format!(
                "verify {} with jwt_authn ({issuer}keys: {}), and bind the user to it with filter.assertion (docs/assertions.md)",
                assertion.header, assertion.keys
            )
        } else {
            format!(
                "let nothing but the proxy reach this port: jwt_authn cannot verify {} ({})",
                assertion.header, assertion.not_by_envoy
            )
        });
    }
    if !proxy.cookies.is_empty() {
        filter.insert("removeCookies".to_owned(), json!(proxy.cookies));
    }
    if proxy.needs_http_refusals {
        filter.insert("webSocketRefusal".to_owned(), json!("http"));
    }
    // Of what this proxy writes, the filter removes what is on its own list.
    let mut stripped: Vec<_> = proxy.headers().filter(|name| !name.ends_with('*') && !is_built_in(name)).collect();
    stripped.sort_unstable();
    stripped.dedup();
    stripped.retain(|name| !name.eq_ignore_ascii_case(&user));
    if !stripped.is_empty() {
        filter.insert("stripHeaders".to_owned(), json!(stripped));
    }
    if let Some(scopes) = whole.pointer_mut("/filter/scopes").and_then(Value::as_object_mut)
        && scopes.contains_key("groups")
        && let Some(groups) = proxy.groups.first()
    {
        scopes.entry("groupsHeader").or_insert_with(|| json!(groups));
    }
    let lists = whole.pointer("/filter/scopes/groupsHeader").and_then(Value::as_str);
    if lists.is_some_and(|header| !proxy.is_open && proxy.lists_groups_in(header))
        && let Some(scopes) = whole.pointer_mut("/filter/scopes").and_then(Value::as_object_mut)
    {
        scopes.entry("groupsSeparator").or_insert_with(|| json!(proxy.separator));
    }
    if !proxy.passes.is_empty() {
        todo.push(format!("know what {} lets through: {}", proxy.title, proxy.passes));
    }

    add(whole, &["gateway", "auth"], Map::from_iter([("mode".to_owned(), json!("trusted-proxy"))]));
    if let Some(old) = whole.pointer_mut("/gateway/auth/trustedProxy").and_then(Value::as_object_mut) {
        old.remove("userHeader");
    }
    add(whole, &["gateway", "auth", "trustedProxy"], trusted);
    add(whole, &["filter"], filter);
}

/// Adds to the object at a path what it lacks. What is no object is left to the reader of the policy.
fn add(whole: &mut Value, path: &[&str], more: Map<String, Value>) {
    let mut at = whole;
    for key in path {
        let Some(object) = at.as_object_mut() else { return };
        at = object.entry(*key).or_insert_with(|| json!({}));
    }
    if let Some(object) = at.as_object_mut() {
        for (key, value) in more {
            object.entry(key).or_insert(value);
        }
    }
}
