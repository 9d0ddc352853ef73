//! Every key of the Gateway's own schema below `gateway`: what this filter reads, and why nothing else changes a
//! decision. A key that is not here is probably misspelled, and becomes a finding.
//!
//! `tests/gateway/schema.rs` compares this table with the schema of the real package, both ways: a key of a new release
//! makes it fail by name. Whoever adds it here decides whether the filter must read it.
//!
//! The module contains only the names, as one text. The reasons are for people: `docs/configuration.md` is made from
//! them.

use super::audit::Audit;
use super::json::Node;
use super::reader::{Cursor, nearest};

/// The release of the Gateway whose schema this is.
pub const RELEASE: &str = "2026.9.6";

/// Whether a key of the Gateway matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Influence {
    /// The filter reads it: it changes a decision or a finding.
    Read,
    /// It is known, and changes no decision of the filter.
    Unread,
}

/// One key of the Gateway's schema.
#[derive(Debug, Clone, Copy)]
pub struct GatewayKey {
    /// Its name. `*` stands for names that the operator chooses.
    pub name: &'static str,
    /// Whether it matters, and what reads it or why nothing does. `None` if the keys below it say so one by one, or if
    /// the key above it already does.
    pub influence: Option<(Influence, &'static str)>,
    /// The words that are allowed, if it is a choice.
    pub words: &'static [&'static str],
    /// The keys below it.
    pub below: &'static [GatewayKey],
}

macro_rules! influence {
    () => {
        None
    };
    ($influence:ident $why:literal) => {
        Some((Influence::$influence, $why))
    };
}

macro_rules! rows {
    ($($name:literal $(($influence:ident $why:literal))? $([$($word:literal),*])? $({$($below:tt)*})?;)*) => {
        &[$(GatewayKey {
            name: $name,
            influence: influence!($($influence $why)?),
            words: &[$($($word),*)?],
            below: rows!($($($below)*)?),
        }),*]
    };
}

/// The same as a text: after each name a `=` and its words, then in braces the keys below it, then a space.
macro_rules! names {
    ($($name:literal $(($influence:ident $why:literal))? $([$first:literal $(, $word:literal)*])? $({$($below:tt)*})?;)*) => {
        concat!($($name, $("=", $first, $(",", $word,)*)? $("{", names!($($below)*), "}",)? " "),*)
    };
}

macro_rules! keys {
    ($($table:tt)*) => {
        /// The keys below `gateway`.
        pub const KEYS: &[GatewayKey] = rows!($($table)*);
        const NAMES: &str = names!($($table)*);
    };
}

keys! {
    "port" (Unread "where the Gateway listens, which Envoy's cluster says again");
    "mode" (Unread "whether a Gateway runs on this host; with `remote` there is none to guard") ["local", "remote"];
    "bind" (Read "section 7: findings about origins are more severe unless it is `loopback`")
        ["auto", "lan", "loopback", "custom", "tailnet"];
    "customBindHost" (Unread "the address of `bind: \"custom\"`");
    "publicOrigin" (Unread "is written into links and callbacks; the Gateway's origin check does not read it");
    "portals" (Unread "portals have a listener of their own, to which this Envoy does not connect") {
        "ingress" { "domain"; "port"; };
    };
    "controlUi" {
        "enabled" (Read "rule 4.4: whether the paths of the Control UI are the Gateway's own; section 7");
        "basePath" (Read "rules 3.16, 4.4 and 4.12");
        "allowedOrigins" (Read "rule 3.12; section 7");
        "dangerouslyAllowHostHeaderOriginFallback" (Read "rule 3.12; section 7");
        "dangerouslyDisableDeviceAuth" (Unread "is about a browser's device, which the Gateway asks for once it knows the user");
        "experimental" (Unread "what the page offers") { "customPlugins"; };
        "root" (Unread "the folder of the page's files");
        "environment" (Unread "how the page looks") {
            "label";
            "color" ["teal", "amber", "purple", "coral", "pink", "blue", "green", "red", "gray"];
        };
        "communityInvite" (Unread "what the page shows");
        "github" (Unread "with which credential the Gateway asks GitHub") {
            "token" { "source"; "provider"; "id"; };
        };
        "sessionObserver" (Unread "what the page shows");
        "embedSandbox" (Unread "what the page may embed") ["strict", "scripts", "trusted"];
        "allowExternalEmbedUrls" (Unread "what the page may embed");
        "automaticallyFetchFavicons" (Unread "what the Gateway fetches for a user whom it has authorized");
    };
    "cliAgents" (Unread "what a session offers; the Gateway authorizes sessions by the user and the scopes that are stamped") {
        "enabled";
    };
    "terminal" (Unread "what a session may start; the Gateway authorizes sessions by the user and the scopes that are stamped") {
        "enabled"; "shell"; "detachedSessionTimeoutSeconds";
    };
    "auth" {
        "mode" (Read "rule 1.9") ["none", "token", "password", "trusted-proxy"];
        "token" (Read "rule 1.10") {
            "source" (Unread "part of a reference to a secret, which is refused as the secret is");
            "provider" (Unread "part of a reference to a secret, which is refused as the secret is");
            "id" (Unread "part of a reference to a secret, which is refused as the secret is");
        };
        "password" (Read "section 7; the Gateway accepts it from loopback without forwarded headers only, rule 8.12") {
            "source" (Unread "part of a reference to a secret");
            "provider" (Unread "part of a reference to a secret");
            "id" (Unread "part of a reference to a secret");
        };
        "allowTailscale" (Read "rule 3.16");
        "identityScopes" (Unread "what a user has on the Gateway's own sockets, below the cap that is stamped; not read for HTTP") {
            "*";
        };
        "rateLimit" (Unread "counts wrong secrets and tokens of devices; a user whom the proxy names is never locked out by it") {
            "maxAttempts"; "windowMs"; "lockoutMs"; "exemptLoopback";
        };
        "trustedProxy" {
            "userHeader" (Read "rule 7");
            "requiredHeaders" (Read "rule 6");
            "allowUsers" (Read "rule 9");
            "allowLoopback" (Read "rule 3");
            "cloudflareAccessOidc" (Read "rule 5.4: whether it is set") {
                "issuer" (Unread "the Gateway verifies the assertion, which is passed on");
                "providerId" (Unread "the Gateway verifies the assertion, which is passed on");
                "githubAccountIdClaim" (Unread "the Gateway verifies the assertion, which is passed on");
            };
            "deviceAutoApprove" (Unread "which devices the Gateway pairs without asking, once it knows the user") {
                "enabled"; "scopes";
            };
        };
    };
    "roles" (Unread "narrows what is stamped, behind the filter: who has which role is in the Gateway's state") {
        "default";
        "definitions" {
            "*" {
                "sessions" { "others" ["none", "view", "suggest", "write"]; };
                "sandbox" ["inherit", "required"];
                "agents"; "scopes"; "accessPolicyPlugin";
            };
        };
    };
    "trustedProxies" (Read "rules 2 and 5");
    "allowRealIpFallback" (Read "rule 5");
    "tools" (Unread "which tools `/tools/invoke` runs for a user whom the Gateway has authorized") { "deny"; "allow"; };
    "tailscale" (Unread "Serve and Funnel have a listener of their own; in this mode they change no default of `auth`") {
        "mode" ["off", "serve", "funnel"];
        "preserveFunnel";
    };
    "remote" {
        "url" (Unread "how this host's tools reach another Gateway");
        "transport" (Unread "how this host's tools reach another Gateway") ["ssh", "direct"];
        "remotePort" (Unread "how this host's tools reach another Gateway");
        "token" (Read "rule 1.10") {
            "source" (Unread "part of a reference to a secret, which is refused as the secret is");
            "provider" (Unread "part of a reference to a secret, which is refused as the secret is");
            "id" (Unread "part of a reference to a secret, which is refused as the secret is");
        };
        "password" (Unread "is no password of this Gateway in this mode") { "source"; "provider"; "id"; };
        "edgeAuth" (Unread "how this host's tools reach another Gateway") {
            "*" { "source"; "provider"; "id"; };
        };
        "tlsFingerprint" (Unread "how this host's tools reach another Gateway");
        "sshTarget" (Unread "how this host's tools reach another Gateway");
        "sshIdentity" (Unread "how this host's tools reach another Gateway");
        "sshHostKeyPolicy" (Unread "how this host's tools reach another Gateway") ["strict", "openssh"];
    };
    "reload" (Unread "when the Gateway reads an edit of its file; the filter has a copy of its own") {
        "mode" ["off", "hybrid"];
    };
    "tls" (Unread "TLS between Envoy and the Gateway, which Envoy's cluster configures") {
        "enabled"; "autoGenerate"; "certPath"; "keyPath"; "caPath";
    };
    "http" {
        "endpoints" {
            "chatCompletions" {
                "enabled" (Read "rule 4.4");
                "images" (Unread "what the Gateway fetches for a user whom it has authorized") {
                    "allowUrl"; "urlAllowlist"; "allowedMimes"; "maxBytes"; "maxRedirects"; "timeoutMs";
                };
            };
            "responses" {
                "enabled" (Read "rule 4.4");
                "maxUrlParts" (Unread "what the Gateway fetches for a user whom it has authorized");
                "files" (Unread "what the Gateway fetches for a user whom it has authorized") {
                    "allowUrl"; "urlAllowlist"; "allowedMimes"; "maxBytes"; "maxRedirects"; "timeoutMs"; "maxChars";
                    "pdf" { "maxPages"; "maxPixels"; "minTextChars"; };
                };
                "images" (Unread "what the Gateway fetches for a user whom it has authorized") {
                    "allowUrl"; "urlAllowlist"; "allowedMimes"; "maxBytes"; "maxRedirects"; "timeoutMs";
                };
            };
        };
        "securityHeaders" (Unread "headers of the Gateway's answers; HSTS is Envoy's, rule 8.13") {
            "strictTransportSecurity";
        };
    };
    "push" (Unread "notifications to devices") { "apns" { "relay" { "baseUrl"; "timeoutMs"; }; }; };
    "nodes" (Unread "which devices pair as nodes and what they run, which the Gateway decides on its own sockets") {
        "browser" { "mode" ["auto", "manual", "off"]; "node"; };
        "pairing" {
            "autoApproveLocal"; "autoApproveCidrs";
            "sshVerify" { "user"; "identity"; "timeoutMs"; "cidrs"; };
        };
        "pluginTools" { "enabled"; };
        "allowSkills";
        "commands" { "allow"; "deny"; };
    };
}

/// Every key with its path below `gateway` and its influence: its own, or that of an unread key above it. `None` if the
/// keys below it say so one by one.
#[must_use]
pub fn influences() -> Vec<(String, Option<Influence>)> {
    fn add(keys: &[GatewayKey], above: &str, inherited: Option<Influence>, all: &mut Vec<(String, Option<Influence>)>) {
        for key in keys {
            let path = format!("{above}{}", key.name);
            let influence = key.influence.map(|(influence, _)| influence).or(inherited);
            all.push((path.clone(), influence));
            let passed_on = influence.filter(|influence| *influence == Influence::Unread);
            add(key.below, &format!("{path}."), passed_on, all);
        }
    }
    let mut all = Vec::new();
    add(KEYS, "", None, &mut all);
    all
}

/// The paths of the keys that are read.
#[must_use]
pub fn read() -> Vec<String> {
    let is_read = |(_, influence): &(String, Option<Influence>)| *influence == Some(Influence::Read);
    influences().into_iter().filter(is_read).map(|(path, _)| path).collect()
}

/// One key of the text of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'t> {
    name: &'t str,
    /// The allowed words, separated by commas. Empty if it is not a choice.
    words: &'t str,
    /// The keys below it, as a text again.
    below: &'t str,
}

/// The keys of one object in the text of names.
fn names(mut text: &str) -> Vec<Name<'_>> {
    let mut all = Vec::new();
    while let Some((name, rest)) = first(text) {
        all.push(name);
        text = rest;
    }
    all
}

/// The first key, and the text after it.
fn first(text: &str) -> Option<(Name<'_>, &str)> {
    let (mut head, mut depth) = (None, 0_usize);
    for (at, byte) in text.bytes().enumerate() {
        if depth == 0 && matches!(byte, b' ' | b'{') {
            head = head.or(Some(at));
        }
        match byte {
            b'{' => depth = depth.saturating_add(1),
            b'}' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => {
                let (head, below) = text.get(..at)?.split_at_checked(head?)?;
                let below = below.strip_prefix('{').and_then(|below| below.strip_suffix('}')).unwrap_or_default();
                let (name, words) = head.split_once('=').unwrap_or((head, ""));
                return Some((Name { name, words, below }, text.get(at..)?.get(1..)?));
            }
            _ => {}
        }
    }
    None
}

/// Looks for keys that the Gateway does not know, and for words that it does not allow.
pub(super) fn look_for_slips(audit: &mut Audit, gateway: &Cursor<'_>) {
    look(audit, NAMES, gateway);
}

fn look(audit: &mut Audit, known: &str, cursor: &Cursor<'_>) {
    let Some(Node::Object(members)) = cursor.node else { return };
    let known = names(known);
    for (key, node) in members {
        let below = cursor.member(key);
        match known.iter().find(|other| other.name == key || other.name == "*") {
            None => {
                audit.note_unknown_key(RELEASE, &below.path, || {
                    nearest(key, &known.iter().map(|other| other.name).collect::<Vec<_>>())
                });
            }
            Some(found) => {
                let words: Vec<_> = found.words.split(',').collect();
                let is_word = matches!(node, Node::String(text) if words.contains(&text.as_str()));
                if !found.words.is_empty() && !is_word {
                    audit.note_unknown_word(RELEASE, &below.path, node, &words);
                }
                if !found.below.is_empty() {
                    look(audit, found.below, &below);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;
    use crate::config::shapes::{Key, Shape};

    #[test]
    fn the_text_of_names_is_the_table() {
        fn compare(text: &str, keys: &[GatewayKey]) {
            let read = names(text);
            let wanted: Vec<_> = keys.iter().map(|key| (key.name, key.words.join(","))).collect();
            let seen: Vec<_> = read.iter().map(|name| (name.name, name.words.to_owned())).collect();
            assert_eq!(seen, wanted);
            for (name, key) in read.iter().zip(keys) {
                compare(name.below, key.below);
            }
        }
        compare(NAMES, KEYS);
        assert_eq!((first(""), first("a{b }"), first("a")), (None, None, None));
    }

    #[test]
    fn every_key_says_what_reads_it_or_why_nothing_does() {
        fn check(keys: &[GatewayKey], above: &str, is_said: bool) {
            for key in keys {
                let path = format!("{above}{}", key.name);
                if let Some((_, why)) = key.influence {
                    assert!(why.len() > 5 && !is_said, "{path}: {why}");
                }
                let is_said = is_said || matches!(key.influence, Some((Influence::Unread, _)));
                assert!(is_said || key.influence.is_some() || !key.below.is_empty(), "{path} says nothing");
                check(key.below, &format!("{path}."), is_said);
            }
        }
        check(KEYS, "", false);
    }

    #[test]
    fn what_is_read_is_what_the_readers_tables_have() {
        fn leaves(keys: &[Key], above: &str, all: &mut Vec<String>) {
            for key in keys {
                let path = format!("{above}{}", key.name);
                match &key.holds {
                    Shape::Object(keys) => leaves(keys.keys, &format!("{path}."), all),
                    _ => all.push(path),
                }
            }
        }
        let mut documented = Vec::new();
        leaves(keys::GATEWAY, "", &mut documented);
        // The keys of a closed object must be known, whether they are read or not. Of identityScopes, only whether the
        // Gateway's release has it is asked.
        let unread = |path: &String| influences().contains(&(path.clone(), Some(Influence::Unread)));
        let is_named = |path: &String| path.starts_with("auth.trustedProxy.") || path == "auth.identityScopes";
        documented.retain(|path| !(is_named(path) && unread(path)));
        documented.sort_unstable();
        let mut read = read();
        read.sort_unstable();
        assert_eq!(documented, read);
    }
}
