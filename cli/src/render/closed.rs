//! Closed without the filter: which header the Gateway reads the user from, and which headers Envoy removes before any
//! filter runs.

use serde_json::{Value, json};

use super::NotRendered;
use super::policy::Plugin;
use super::yaml::word;
use crate::output::Failure;

/// The header that only the filter writes, unless the operator's `upstreamUserHeader` names another.
pub const OWN: &str = "x-openclaw-user";
const SCOPES: &str = "x-openclaw-scopes";
const GROUPS: &str = "x-forwarded-groups";

/// Who sends requests to the Envoy that is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// Browsers: Envoy itself signs people in.
    Clients,
    /// A proxy that names the user in a header of its own.
    Proxy,
    /// Another Envoy with this filter, which has named the user already.
    Filter,
}

/// What Envoy must do.
#[derive(Debug)]
pub struct Closed {
    /// The header in which the Gateway reads the user.
    pub user: String,
    /// The headers that Envoy removes from each request before any filter runs.
    pub removed: Vec<String>,
}

/// The header in which the Gateway reads the user.
pub fn user_header(plugin: &Plugin) -> String {
    let name = plugin.filter.get("upstreamUserHeader").and_then(Value::as_str);
    name.map_or(OWN, str::trim).to_owned()
}

/// Settles the headers that name the user. `theirs` is the proxy's, if the configuration does not say it.
pub fn close(
    plugin: &mut Plugin,
    front: Front,
    theirs: Option<&str>,
    todo: &mut Vec<String>,
) -> Result<Closed, NotRendered> {
    let user = user_header(plugin);
    let configured = plugin.user_header().to_owned();
    if !configured.eq_ignore_ascii_case(&user) {
        todo.push(format!(
            "set userHeader to {user} in the Gateway's openclaw.json: `render gateway` prints that block. Only the filter \
             writes this header"
        ));
    }
    let mut removed = vec![user.clone()];
    match front {
        Front::Clients => {
            plugin.set_user_header(&user);
            let groups = plugin.filter.get("scopes").and_then(|scopes| scopes.get("groupsHeader"));
            removed.extend([SCOPES, groups.and_then(Value::as_str).map_or(GROUPS, str::trim)].map(str::to_owned));
        }
        Front::Filter => {
            plugin.set_user_header(&user);
            removed.clear();
        }
        Front::Proxy => {
            let theirs = theirs.unwrap_or(&configured);
            if theirs.eq_ignore_ascii_case(&user) {
                return Err(NotRendered::Failure(Failure::new(
                    "gateway.auth.trustedProxy.userHeader",
                    format!("is {user:?}, which only the filter may write"),
                    "add --user-header NAME, the header in which your proxy names the user",
                )));
            }
            plugin.set_user_header(theirs);
            plugin.set("upstreamUserHeader", json!(user));
        }
    }
    Ok(Closed { user, removed })
}

impl Closed {
    /// The mutations, as a list in YAML.
    pub fn mutations(&self) -> String {
        let all: Vec<_> = self.removed.iter().map(|name| format!("{{ remove: {} }}", word(name))).collect();
        format!("[{}]", all.join(", "))
    }

    /// The names, as a list in YAML.
    pub fn names(&self) -> String {
        let all: Vec<_> = self.removed.iter().map(|name| word(name)).collect();
        format!("[{}]", all.join(", "))
    }
}
