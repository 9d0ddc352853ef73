//! A request from a HAR file, as the developer tools of browsers save it.

use serde_json::Value;

use super::sent::{Malformed, Sent};

/// How many entries a message lists.
const SHOWN: usize = 10;

/// Reads one entry: by its number (starting at 1), by part of its URL, or the only one in the file.
pub fn read(text: &str, wanted: Option<&str>) -> Result<Sent, Malformed> {
    let har: Value = serde_json::from_str(text.trim_start_matches('\u{FEFF}'))
        .map_err(|error| Malformed::new(format!("is not JSON: {error}"), "save it again in the developer tools"))?;
    let entries = har.pointer("/log/entries").and_then(Value::as_array).ok_or_else(|| {
        Malformed::new("has no log.entries", "give a HAR file: in the developer tools, save the network log")
    })?;
    let url = |entry: &Value| entry.pointer("/request/url").and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |found: &[&Value]| {
        let mut names: Vec<_> = found.iter().take(SHOWN).map(|entry| without_query(&url(entry))).collect();
        if found.len() > SHOWN {
            names.push(format!("and {} more", found.len().saturating_sub(SHOWN)));
        }
        names.join(", ")
    };
    let all: Vec<&Value> = entries.iter().collect();
    let found: Vec<&Value> = match wanted {
        None => all.clone(),
        Some(wanted) => match wanted.parse::<usize>() {
            Ok(number) => number.checked_sub(1).and_then(|at| entries.get(at)).into_iter().collect(),
            Err(_) => all.iter().copied().filter(|entry| url(entry).contains(wanted)).collect(),
        },
    };
    match found[..] {
        [entry] => read_entry(entry),
        [] if all.is_empty() => Err(Malformed::new("has no requests", "record one, and save the file again")),
        [] => Err(Malformed::new(
            format!("has no entry {}", wanted.unwrap_or_default()),
            format!("use --entry to choose one of these {} by number or URL: {}", all.len(), list(&all)),
        )),
        _ => Err(Malformed::new(
            format!("has {} entries to choose from: {}", found.len(), list(&found)),
            "use --entry to choose one: its number, starting at 1, or part of its URL",
        )),
    }
}

/// Queries may contain secrets.
fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn read_entry(entry: &Value) -> Result<Sent, Malformed> {
    let request = entry.get("request").unwrap_or(&Value::Null);
    let text = |key: &str| request.get(key).and_then(Value::as_str);
    let missing =
        |what: &str| Malformed::new(format!("has an entry without {what}"), "save it again in the developer tools");
    let version = text("httpVersion").unwrap_or_default().to_ascii_lowercase();
    let mut sent = Sent {
        method: text("method").ok_or_else(|| missing("request.method"))?.to_owned(),
        http2: version.contains("h2")
            || version.contains("h3")
            || version.contains("http/2")
            || version.contains("http/3"),
        ..Sent::default()
    };
    for header in request.get("headers").and_then(Value::as_array).ok_or_else(|| missing("request.headers"))? {
        let text = |key: &str| header.get(key).and_then(Value::as_str);
        let (Some(name), Some(value)) = (text("name"), text("value")) else {
            return Err(missing("a header's name or value"));
        };
        match name {
            ":authority" => sent.headers.insert(0, ("host".to_owned(), value.as_bytes().to_vec())),
            // Method and URL already say this.
            pseudo if pseudo.starts_with(':') => {}
            name => sent.headers.push((name.to_owned(), value.as_bytes().to_vec())),
        }
    }
    let url = text("url").ok_or_else(|| missing("request.url"))?;
    sent.set_url(url)?;
    let is_socket = entry.get("_resourceType").and_then(Value::as_str) == Some("websocket");
    if is_socket || url.starts_with("ws:") || url.starts_with("wss:") {
        sent.make_websocket();
    }
    Ok(sent)
}
