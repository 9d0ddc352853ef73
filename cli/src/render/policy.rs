//! The plugin configuration that is printed: the part of the operator's configuration that the filter reads.

use policy::Policy;
use policy::config::{Key, compile, keys};
use serde_json::{Map, Value, json};

use super::NotRendered;
use crate::input::{Configuration, Hidden};
use crate::json5;
use crate::output::Problem;
use crate::underscores::of as underscores;

/// A plugin configuration that compiles.
pub struct Plugin {
    /// The gateway block, without what the filter does not read.
    pub gateway: Map<String, Value>,
    /// The filter's own settings.
    pub filter: Map<String, Value>,
    /// Whether the operator has settings under `filter`.
    pub has_filter: bool,
    /// Hides in messages what variables became.
    pub hidden: Hidden,
    /// What remains to be done for the identity proxy in front.
    pub todo: Vec<String>,
}

/// Keys that the filter rejects or does not read, and that are often secret.
const LEFT_OUT: [&str; 5] = ["token", "password", "remote", "deviceAutoApprove", "identityScopes"];

/// The keys of the objects that are read only in part.
fn table(path: &[&str]) -> Option<&'static [Key]> {
    Some(match path {
        ["gateway"] => keys::GATEWAY,
        ["gateway", "auth"] => keys::AUTH,
        ["gateway", "auth", "trustedProxy"] => keys::TRUSTED_PROXY,
        ["gateway", "controlUi"] => keys::CONTROL_UI,
        ["gateway", "http"] => keys::HTTP,
        ["gateway", "http", "endpoints"] => keys::ENDPOINTS,
        ["gateway", "http", "endpoints", _] => keys::ENDPOINT,
        _ => return None,
    })
}

/// The part of a value that the filter reads.
fn read_part<'k>(value: &'k Value, path: &mut Vec<&'k str>) -> Value {
    let (Value::Object(members), Some(table)) = (value, table(path)) else { return value.clone() };
    let mut part = Map::new();
    for (name, value) in members {
        if !LEFT_OUT.contains(&name.as_str()) && table.iter().any(|key| key.name == name) {
            path.push(name);
            part.insert(name.clone(), read_part(value, path));
            path.pop();
        }
    }
    part.into()
}

impl Plugin {
    /// Takes the operator's configuration. `fill` adds what is missing in it, and what then remains to be done.
    ///
    /// # Errors
    /// The problems in it, as `check` reports them.
    pub fn read(
        configuration: Configuration,
        fill: impl FnOnce(&mut Value, &mut Vec<String>),
    ) -> Result<Self, Vec<Problem>> {
        let unresolved = configuration.unresolved_problems();
        if !unresolved.is_empty() {
            return Err(unresolved);
        }
        let mut whole: Value = serde_json::from_str(&configuration.plugin_json()).unwrap_or_default();
        let mut todo = Vec::new();
        fill(&mut whole, &mut todo);
        configuration.compile_as(&whole.to_string())?;
        let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let part = |key| whole.get(key).cloned().unwrap_or_default();
        let gateway = object(&read_part(&part("gateway"), &mut vec!["gateway"]));
        let filter = object(&part("filter"));
        let has_filter = !filter.is_empty();
        let variables = configuration.hidden.variables_in(&json!({"gateway": gateway, "filter": filter}).to_string());
        if !variables.is_empty() {
            todo.push(format!("keep this policy as private as the variables in it: {}", variables.join(", ")));
        }
        Ok(Self { gateway, filter, has_filter, hidden: configuration.hidden, todo })
    }

    /// The whole: `{"gateway": …, "filter": …}`.
    pub fn json(&self) -> Value {
        json!({"gateway": self.gateway, "filter": self.filter})
    }

    /// Sets a setting of the filter.
    pub fn set(&mut self, key: &str, value: Value) {
        self.filter.insert(key.to_owned(), value);
    }

    /// Whether a setting of the filter has this value.
    pub fn has(&self, key: &str, value: impl Into<Value>) -> bool {
        self.filter.get(key) == Some(&value.into())
    }

    /// The header in which the user is named to the filter.
    pub fn user_header(&self) -> &str {
        let trusted = self.gateway.get("auth").and_then(|auth| auth.get("trustedProxy"));
        trusted.and_then(|trusted| trusted.get("userHeader")).and_then(Value::as_str).map_or("", str::trim)
    }

    /// Sets the header in which the user is named to the filter.
    pub fn set_user_header(&mut self, name: &str) {
        let trusted = self.gateway.get_mut("auth").and_then(|auth| auth.get_mut("trustedProxy"));
        if let Some(Value::Object(trusted)) = trusted {
            trusted.insert("userHeader".to_owned(), json!(name));
        }
    }

    /// A header with an underscore that the policy reads, if there is one.
    pub fn header_with_underscores(&self) -> Option<String> {
        let plugin = json5::parse(&self.json().to_string(), 0).ok()?;
        underscores(&plugin).into_iter().next().map(|(_, header)| header.to_owned())
    }

    /// Refuses requests that other web sites make, unless the operator says otherwise.
    pub fn refuse_cross_site(&mut self) {
        self.filter.entry("crossSite").or_insert_with(|| json!("refuse"));
    }

    /// Sets the filter's peers from `--proxy`. If nothing names them, this is left to be done.
    pub fn add_proxies(&mut self, proxies: &[String], todo: &mut Vec<String>) {
        if !proxies.is_empty() {
            self.set("trustedProxies", json!(proxies));
        } else if !self.filter.contains_key("trustedProxies")
            && !self.has("edge", true)
            && !self.has("peerTrust", "certificate")
        {
            todo.push(
                "name the proxies that connect to this Envoy with --proxy IP: without it the filter uses the Gateway's list, \
                 which names Envoy itself, and refuses the proxies with trusted_proxy_untrusted_source"
                    .to_owned(),
            );
        }
    }

    /// Compiles what is about to be printed.
    pub fn policy(&self) -> Result<Policy, NotRendered> {
        let compiled = compile(self.json().to_string().as_bytes());
        compiled.map(|compiled| compiled.policy).map_err(|errors| {
            let problem = |error: &policy::config::ConfigError| Problem {
                place: error.path.clone(),
                problem: error.problem.clone(),
                remedy: error.remedy.clone(),
                excerpt: None,
            };
            NotRendered::Policy(errors.as_slice().iter().map(problem).collect())
        })
    }
}
