//! Whether a policy fits the identity proxy that `--proxy` names.

use super::finding::{Counted, Finding, Level};
use crate::input::{Configuration, Kind};
use crate::json5::{Node, Value};
use crate::proxies::{Encoding, PROXIES, Proxy};

/// The header that only the filter writes, in every shipped placement.
const OWN: &str = "x-openclaw-user";
const USER: &str = "gateway.auth.trustedProxy.userHeader";
const GROUPS: &str = "filter.scopes.groupsHeader";
const PREFIX: &str = "filter.userPrefix";

/// Adds the findings.
pub fn add(configuration: &Configuration, proxy: &'static Proxy, findings: &mut Vec<Finding>) {
    let mut report = Report { proxy, to: Counted::new(configuration, findings) };
    if report.is(&["filter", "edge"], true) {
        report.to.add(
            "check.proxy_edge",
            Level::Warn,
            "filter.edge",
            format!("is true: Envoy itself signs users in, and no header of {} is read", proxy.title),
            "remove it if that proxy is in front of Envoy; otherwise leave out --proxy",
        );
        return;
    }
    let user = report.text(&["gateway", "auth", "trustedProxy", "userHeader"]);
    // Behind another filter, the user is what that one stamped.
    if let Some(Value::List(peers)) = report.at(&["filter", "trustedPeers"]).map(|node| &node.value)
        && !peers.is_empty()
        && report.text(&["filter", "upstreamUserHeader"]).is_empty_or(&user)
    {
        return;
    }
    // A verified identity takes the place of the header.
    if report.text(&["filter", "assertion", "as"]) != "identity" && report.user_header(&user) {
        report.prefix(&user);
        report.encoding();
    }
    report.groups();
    report.required_headers();
    report.assertion();
    if !proxy.passes.is_empty() {
        report.to.add("check.proxy_passes", Level::Info, USER, format!("{}: {}", proxy.title, proxy.passes), "");
    }
}

/// Adds what is sure without `--proxy`: the header of the user can be that of one proxy alone.
pub fn add_likely(configuration: &Configuration, findings: &mut Vec<Finding>) {
    let user = configuration.at(&["gateway", "auth", "trustedProxy", "userHeader"]).and_then(Node::text);
    let Some(user) = user.map(str::trim) else { return };
    let mut named = PROXIES.iter().filter(|proxy| proxy.writes(user) && !proxy.is_open);
    let (Some(proxy), None) = (named.next(), named.next()) else { return };
    let mut report = Report { proxy, to: Counted::new(configuration, findings) };
    if report.text(&["filter", "assertion", "as"]) != "identity" && report.user_header(user) {
        if !report.entries().is_empty() {
            report.prefix(user);
        }
        report.encoding();
    }
}

/// Whether one header stands for the other.
trait Same {
    fn is_empty_or(&self, other: &str) -> bool;
}

impl Same for String {
    fn is_empty_or(&self, other: &str) -> bool {
        self.is_empty() || self.eq_ignore_ascii_case(other)
    }
}

struct Report<'a> {
    proxy: &'static Proxy,
    to: Counted<'a>,
}

impl<'a> Report<'a> {
    fn at(&self, path: &[&str]) -> Option<&'a Node> {
        self.to.configuration.at(path)
    }

    fn is(&self, path: &[&str], value: bool) -> bool {
        self.at(path).is_some_and(|node| node.value == Value::Bool(value))
    }

    fn text(&self, path: &[&str]) -> String {
        self.at(path).and_then(Node::text).map(str::trim).unwrap_or_default().to_owned()
    }

    /// How severe it is that a name differs: a proxy may give its headers other names.
    const fn of_a_name(&self) -> Level {
        if self.proxy.names_by.is_some() { Level::Warn } else { Level::Error }
    }

    /// What to write instead of a name.
    fn instead(&self, name: Option<&&str>) -> String {
        let write = name.map_or_else(String::new, |name| format!("write \"{name}\""));
        match self.proxy.names_by {
            Some(by) => format!("{write}, unless {by} names it so"),
            None => write,
        }
    }

    /// Whether the proxy names the user in this header.
    fn user_header(&mut self, user: &str) -> bool {
        let Proxy { title, users, .. } = self.proxy;
        if user.is_empty() {
            return false;
        }
        if let Some(what) = self.proxy.encoded_as(user) {
            let remedy = users.first().map_or_else(String::new, |name| format!("write \"{name}\""));
            self.to.add(
                "check.proxy_encoding",
                Level::Error,
                USER,
                format!("{user} of {title} is {what}, and not the name of a user"),
                remedy,
            );
            return false;
        }
        let is_own = user.eq_ignore_ascii_case(OWN);
        if is_own && self.to.configuration.kind == Kind::OpenClaw {
            self.to.add(
                "check.proxy_user_header",
                Level::Info,
                USER,
                format!("is {OWN}, which only the filter writes; {title} names the user in {}", listed(users)),
                format!("`render --proxy {}` writes a policy that reads it", self.proxy.name),
            );
            return false;
        }
        if is_own || !self.proxy.names_users_in(user) {
            let remedy = self.instead(users.first());
            self.to.add(
                "check.proxy_user_header",
                self.of_a_name(),
                USER,
                format!("{title} does not name the user in {user}, but in {}", listed(users)),
                remedy,
            );
            return false;
        }
        true
    }

    /// What is before each user.
    fn prefix(&mut self, user: &str) {
        let Proxy { title, prefix, .. } = *self.proxy;
        let set = self.at(&["filter", "userPrefix"]).and_then(Node::text);
        let has = |entry: &String| entry.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let entries: Vec<_> = self.entries().into_iter().map(|(path, entry)| (path, has(&entry))).collect();
        let mut users = entries.iter().filter(|(path, _)| path.contains("allowUsers")).peekable();
        // Without userPrefix, users are named with the prefix.
        let nobody = users.peek().is_some() && users.all(|(_, has)| !has);
        match set {
            None if !entries.is_empty() && entries.iter().all(|(_, has)| *has) => return,
            None if !prefix.is_empty() => self.to.add(
                "check.proxy_prefix",
                if nobody { Level::Error } else { Level::Warn },
                PREFIX,
                format!("is not set, and {title} writes \"{prefix}\" before each user in {user}"),
                format!("write \"{prefix}\""),
            ),
            Some(set) if set != prefix => {
                let remedy = if prefix.is_empty() { "remove it".to_owned() } else { format!("write \"{prefix}\"") };
                let before = if prefix.is_empty() { "nothing".to_owned() } else { format!("\"{prefix}\"") };
                self.to.add(
                    "check.proxy_prefix",
                    self.of_a_name(),
                    PREFIX,
                    format!("is {set:?}, and {title} writes {before} before the user: every user is refused"),
                    remedy,
                );
                return;
            }
            _ => {}
        }
        if prefix.is_empty() {
            return;
        }
        for (path, entry) in self.entries() {
            let rest = entry.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
            let rest = rest.and_then(|start| entry.get(start.len()..));
            match (rest, set.is_some()) {
                (Some(rest), true) => self.to.add(
                    "check.proxy_prefix",
                    Level::Warn,
                    &path,
                    format!("{entry:?} has the prefix, which userPrefix removes from each user: it matches nobody"),
                    format!("write {rest:?}"),
                ),
                (None, false) => self.to.add(
                    "check.proxy_prefix",
                    Level::Warn,
                    &path,
                    format!("{entry:?} lacks the prefix that {title} writes before each user: it matches nobody"),
                    format!("set {PREFIX} to \"{prefix}\""),
                ),
                _ => {}
            }
        }
    }

    /// How users beyond ASCII are written.
    fn encoding(&mut self) {
        let Proxy { title, encoding, .. } = *self.proxy;
        if encoding == Encoding::Unknown {
            return;
        }
        for (path, entry) in self.entries() {
            if entry.is_ascii() {
                continue;
            }
            // What the filter says about it without knowing the proxy.
            self.to.findings.retain(|finding| {
                finding.id != "filter.odd_user"
                    || finding.problem.place != path
                    || !finding.problem.problem.contains("beyond ASCII")
            });
            let original = from_misread(&entry);
            let (problem, remedy) = match encoding {
                Encoding::Utf8 if original.is_none() => (
                    format!("{entry:?}: {title} sends UTF-8, which the Gateway reads as other characters"),
                    format!("write {:?}", misread(&entry)),
                ),
                Encoding::EncodedWords => {
                    let entry = original.unwrap_or_else(|| entry.clone());
                    (
                        format!("{entry:?}: {title} sends characters beyond ASCII as encoded words (RFC 2047)"),
                        format!("write {:?}", encoded_word(&entry)),
                    )
                }
                Encoding::Latin1 => match original {
                    Some(original) => (
                        format!("{entry:?}: {title} sends Latin-1, unless it is told to send UTF-8"),
                        format!("write {original:?}"),
                    ),
                    None if entry.chars().any(|c| u32::from(c) > 0xFF) => (
                        format!("{entry:?}: {title} sends Latin-1, which lacks some of these characters"),
                        "name the user by a claim of ASCII characters".to_owned(),
                    ),
                    None => continue,
                },
                Encoding::Utf8 | Encoding::Unknown => continue,
            };
            self.to.add("check.proxy_encoding", Level::Warn, &path, problem, remedy);
        }
    }

    /// The users in lists, with their paths.
    fn entries(&self) -> Vec<(String, String)> {
        let allowed = match self.at(&["gateway", "auth", "trustedProxy", "allowUsers"]).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        let allowed = allowed.iter().enumerate().filter_map(|(at, node)| {
            Some((format!("gateway.auth.trustedProxy.allowUsers[{at}]"), node.text()?.trim().to_owned()))
        });
        let ceilings = self.at(&["filter", "scopes", "users"]).map(Node::members).unwrap_or_default();
        let ceilings = ceilings.iter().filter(|member| member.key != "*");
        allowed
            .chain(ceilings.map(|member| (format!("filter.scopes.users[{:?}]", member.key), member.key.clone())))
            .collect()
    }

    fn groups(&mut self) {
        let Proxy { title, groups, separator, separator_by, .. } = *self.proxy;
        let header = self.text(&["filter", "scopes", "groupsHeader"]);
        if header.is_empty() {
            return;
        }
        if groups.is_empty() {
            self.to.add(
                "check.proxy_groups_header",
                Level::Error,
                GROUPS,
                format!("{title} sends no groups: what arrives in {header} is a client's own"),
                "remove groupsHeader and groups",
            );
            return;
        }
        if let Some(what) = self.proxy.encoded_as(&header) {
            let remedy = groups.first().map_or_else(String::new, |name| format!("write \"{name}\""));
            let problem = format!("{header} of {title} is {what}, and not a list of groups");
            self.to.add("check.proxy_encoding", Level::Error, GROUPS, problem, remedy);
            return;
        }
        if !self.proxy.lists_groups_in(&header) {
            let remedy = self.instead(groups.first());
            self.to.add(
                "check.proxy_groups_header",
                self.of_a_name(),
                GROUPS,
                format!("{title} does not list groups in {header}, but in {}", listed(groups)),
                remedy,
            );
            return;
        }
        if self.proxy.is_open {
            return;
        }
        let set = self.at(&["filter", "scopes", "groupsSeparator"]).and_then(Node::text).unwrap_or(",");
        if set != separator {
            self.to.findings.retain(|finding| finding.id != "filter.groups_separator");
            let (level, unless) = match separator_by {
                Some(by) => (Level::Warn, format!(", unless {by} is {set:?}")),
                None => (Level::Error, String::new()),
            };
            self.to.add(
                "check.proxy_groups_separator",
                level,
                "filter.scopes.groupsSeparator",
                format!("is {set:?}, and {title} writes {separator:?} between groups"),
                format!("write {separator:?}{unless}"),
            );
        }
        if self.proxy.quotes_groups {
            let named = self.at(&["filter", "scopes", "groups"]).map(Node::members).unwrap_or_default();
            for member in named {
                let group = &member.key;
                if !(group.len() > 1 && group.starts_with('"') && group.ends_with('"')) {
                    self.to.add(
                        "check.proxy_encoding",
                        Level::Warn,
                        &format!("filter.scopes.groups[{group:?}]"),
                        format!(
                            "{group:?}: {title} writes each group in double quotes, which are a part of its name here"
                        ),
                        format!("write {:?}", format!("\"{group}\"")),
                    );
                }
            }
        }
        if self.proxy.overwrites(&header) {
            for finding in self.to.findings.iter_mut().filter(|finding| finding.id == "filter.groups_header") {
                finding.level = Level::Info;
                finding.problem.remedy = format!("{title} does so on each request of a user");
            }
        }
    }

    /// Headers that prove nothing, because a client's own pass.
    fn required_headers(&mut self) {
        let Proxy { title, assertion, names_by, .. } = self.proxy;
        let path = ["gateway", "auth", "trustedProxy", "requiredHeaders"];
        let Some(Value::List(required)) = self.at(&path).map(|node| &node.value) else { return };
        let compared = self.at(&["filter", "requiredValues"]).map(Node::members).unwrap_or_default();
        let level = if names_by.is_some() { Level::Info } else { Level::Warn };
        let remedy = match assertion {
            Some(assertion) if assertion.is_always_sent => format!("write \"{}\"", assertion.header),
            _ => "compare a secret that only the proxy knows: filter.requiredValues".to_owned(),
        };
        for (at, header) in required.iter().enumerate() {
            let Some(header) = header.text().map(str::trim) else { continue };
            let is_compared = compared.iter().any(|member| member.key.trim().eq_ignore_ascii_case(header));
            // Every proxy writes these; the filter has a finding of its own.
            let is_forwarded = header.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"));
            if !is_compared && !is_forwarded && !self.proxy.writes(header) {
                self.to.add(
                    "check.proxy_required_header",
                    level,
                    &format!("{}[{at}]", path.join(".")),
                    format!(
                        "{title} does not write {header} unless told to: a client's own passes, and proves nothing"
                    ),
                    remedy.clone(),
                );
            }
        }
    }

    /// A signed statement that nothing verifies.
    fn assertion(&mut self) {
        let Some(assertion) = &self.proxy.assertion else { return };
        if self.at(&["filter", "assertion"]).is_some() {
            return;
        }
        let remedy = if assertion.not_by_envoy.is_empty() {
            let issuer =
                if assertion.issuer.is_empty() { String::new() } else { format!("issuer: {}; ", assertion.issuer) };
            format!(
                "let Envoy's jwt_authn verify it ({issuer}keys: {}), and bind the user to it: docs/assertions.md",
                assertion.keys
            )
        } else {
            format!(
                "Envoy's jwt_authn cannot verify it ({}): let nothing but the proxy reach Envoy's port",
                assertion.not_by_envoy
            )
        };
        self.to.add(
            "check.proxy_assertion",
            Level::Info,
            "filter.assertion",
            format!("is not set, although {} signs {}", self.proxy.title, assertion.header),
            remedy,
        );
    }
}

/// Names in a sentence.
fn listed(names: &[&str]) -> String {
    names.join(", ")
}

/// What UTF-8 becomes where it is read as Latin-1.
fn misread(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

/// The text that was misread so, if it was.
fn from_misread(text: &str) -> Option<String> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    String::from_utf8(bytes?).ok()
}

/// A text as one encoded word: UTF-8 in the Q encoding of RFC 2047.
fn encoded_word(text: &str) -> String {
    let mut word = String::from("=?utf-8?q?");
    for byte in text.bytes() {
        match byte {
            b' ' => word.push('_'),
            b'!'..=b'~' if !matches!(byte, b'=' | b'?' | b'_') => word.push(char::from(byte)),
            _ => word.push_str(&format!("={byte:02X}")),
        }
    }
    word + "?="
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_the_proxies_write_them() {
        assert_eq!(misread("jörg"), "jÃ¶rg");
        assert_eq!(from_misread("jÃ¶rg").as_deref(), Some("jörg"));
        assert_eq!(from_misread("jörg"), None);
        assert_eq!(from_misread("Łukasz"), None);
        // As Go's `mime.QEncoding` has it, in the example of Tailscale's page.
        assert_eq!(encoded_word("Ferris Bueller ©"), "=?utf-8?q?Ferris_Bueller_=C2=A9?=");
    }
}
