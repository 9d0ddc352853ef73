//! The names of identity proxies, as arguments.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use policy::config::nearest;

use crate::proxies::{PROXIES, Proxy};

/// Reads the name of a proxy.
pub fn proxy() -> impl TypedValueParser<Value = &'static Proxy> {
    PossibleValuesParser::new(names()).try_map(|name| Proxy::named(&name).ok_or("is not a known proxy"))
}

/// Reads a proxy by its name, or what may be its address.
pub fn proxy_or_address(text: &str) -> Result<Front, String> {
    if let Some(proxy) = Proxy::named(text) {
        return Ok(Front::Named(proxy));
    }
    // Every address has one of these.
    if text.contains(['.', ':', '/']) {
        return Ok(Front::Address(text.to_owned()));
    }
    let names = names();
    let meant = nearest(text, &names).map_or_else(String::new, |name| format!("did you mean {name}? "));
    Err(format!("is not an address, and not a known proxy; {meant}The names are: {}", names.join(", ")))
}

/// The proxy in front of Envoy, as `--proxy` says it.
#[derive(Debug, Clone)]
pub enum Front {
    Address(String),
    Named(&'static Proxy),
}

fn names() -> Vec<&'static str> {
    PROXIES.iter().map(|proxy| proxy.name).collect()
}
