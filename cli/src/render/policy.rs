//! The plugin configuration that is printed: what the filter reads of the operator's configuration, and no more.

use std::path::Path;

use policy::Policy;

use policy::config::{Key, compile, keys};
use serde_json::{Map, Value, json};

use super::NotRendered;
use crate::input;
use crate::output::{Failure, Problem};

/// A plugin configuration that compiles.
pub struct Plugin {
    /// The gateway block, without what the filter does not read.
    pub gateway: Map<String, Value>,
    /// The filter's own settings.
    pub filter: Map<String, Value>,
    /// The operator said something under `filter`.
    pub has_filter: bool,
}

/// Read by the filter only to refuse them, or not at all, and often secret.
const LEFT_OUT: [&str; 4] = ["token", "password", "remote", "deviceAutoApprove"];

/// The tables of the objects of which only a part is read.
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

/// What the filter reads of a value.
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
    /// Reads the operator's configuration; the inner error is what is wrong with it, as `check` says it.
    pub fn read(file: &Path, options: &input::Options) -> Result<Result<Self, Vec<Problem>>, Failure> {
        let configuration = input::read(file, options)?;
        let unresolved = configuration.unresolved_problems();
        if !unresolved.is_empty() {
            return Ok(Err(unresolved));
        }
        if let Err(problems) = configuration.compile() {
            return Ok(Err(problems));
        }
        let whole: Value = serde_json::from_str(&configuration.plugin_json()).unwrap_or_default();
        let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let part = |key| whole.get(key).cloned().unwrap_or_default();
        let gateway = object(&read_part(&part("gateway"), &mut vec!["gateway"]));
        let filter = object(&part("filter"));
        let has_filter = !filter.is_empty();
        Ok(Ok(Self { gateway, filter, has_filter }))
    }

    /// The whole: `{"gateway": …, "filter": …}`.
    pub fn json(&self) -> Value {
        json!({"gateway": self.gateway, "filter": self.filter})
    }

    /// Puts a setting of the filter.
    pub fn set(&mut self, key: &str, value: Value) {
        self.filter.insert(key.to_owned(), value);
    }

    /// Whether a setting of the filter has this value.
    pub fn says(&self, key: &str, value: impl Into<Value>) -> bool {
        self.filter.get(key) == Some(&value.into())
    }

    /// Where the filter's peers are named: `--proxy`, the operator's file, or nowhere.
    pub fn add_proxies(&mut self, proxies: &[String], todo: &mut Vec<String>) {
        if !proxies.is_empty() {
            self.set("trustedProxies", json!(proxies));
        } else if !self.filter.contains_key("trustedProxies")
            && !self.says("edge", true)
            && !self.says("peerTrust", "certificate")
        {
            todo.push(
                "name the proxies that connect to this Envoy with --proxy IP: until then the filter takes the Gateway's list, which names \
                 Envoy itself, and refuses them with trusted_proxy_untrusted_source"
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
