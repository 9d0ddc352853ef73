//! The fingerprint of a configuration: a number that tells policies apart.

use super::json::Node;

/// What decides, by its path. Nothing else is hashed: a statistic is public, and whoever knows the rest of a policy
/// could guess a secret in it. The block of the Gateway that people paste has tokens and passwords.
const HASHED: [&[&str]; 15] = [
    &["gateway", "bind"],
    &["gateway", "trustedProxies"],
    &["gateway", "allowRealIpFallback"],
    &["gateway", "auth", "mode"],
    &["gateway", "auth", "allowTailscale"],
    &["gateway", "auth", "trustedProxy", "userHeader"],
    &["gateway", "auth", "trustedProxy", "requiredHeaders"],
    &["gateway", "auth", "trustedProxy", "allowUsers"],
    &["gateway", "auth", "trustedProxy", "allowLoopback"],
    &["gateway", "controlUi", "enabled"],
    &["gateway", "controlUi", "allowedOrigins"],
    &["gateway", "controlUi", "dangerouslyAllowHostHeaderOriginFallback"],
    &["gateway", "controlUi", "basePath"],
    &["gateway", "http", "endpoints", "chatCompletions", "enabled"],
    &["gateway", "http", "endpoints", "responses", "enabled"],
];

/// Keys of which only the presence is hashed.
const PRESENT: [&[&str]; 1] = [&["gateway", "auth", "trustedProxy", "cloudflareAccessOidc"]];

/// FNV-1a with 64 bits, cut to the 53 bits that a double can hold: gauges are doubles in Prometheus.
pub(super) fn fingerprint(root: &Node) -> u64 {
    let mut hash = Hash::default();
    for path in HASHED {
        hash.node(at(root, path));
    }
    // Digests of secrets can be guessed from, too.
    hash.members(at(root, &["filter"]), "requiredValues");
    for path in PRESENT {
        hash.bytes(at(root, path).map_or("", Node::kind).as_bytes());
    }
    hash.0 >> 11
}

fn at<'n>(root: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(root, |node, key| match node {
        Node::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, node)| node),
        _ => None,
    })
}

struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hash {
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    }

    /// The bytes, and a byte that is in no UTF-8 text after them.
    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().chain(&[0xFF]).for_each(|&byte| self.byte(byte));
    }

    /// An object. Of the member `names`, only the names of its own members are hashed.
    fn members(&mut self, node: Option<&Node>, names: &str) {
        let Some(Node::Object(members)) = node else { return self.node(node) };
        self.bytes(b"{");
        for (key, node) in members {
            self.bytes(key.as_bytes());
            match node {
                Node::Object(inner) if key == names => inner.iter().for_each(|(key, _)| self.bytes(key.as_bytes())),
                node => self.node(Some(node)),
            }
        }
        self.bytes(b"");
    }

    fn node(&mut self, node: Option<&Node>) {
        match node {
            Some(Node::String(text)) => self.bytes(text.as_bytes()),
            Some(Node::Bool(true)) => self.bytes(b"true"),
            Some(Node::List(items)) => {
                self.bytes(b"[");
                items.iter().for_each(|item| self.node(Some(item)));
            }
            Some(Node::Object(_)) => return self.members(node, ""),
            other => self.bytes(other.map_or("absent", Node::kind).as_bytes()),
        }
        self.bytes(b"");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        // From the published test vectors of FNV-1a with 64 bits.
        for (text, expected) in
            [("", 0xCBF2_9CE4_8422_2325_u64), ("a", 0xAF63_DC4C_8601_EC8C), ("foobar", 0x8594_4171_F739_67E8)]
        {
            let mut hash = Hash::default();
            text.bytes().for_each(|byte| hash.byte(byte));
            assert_eq!(hash.0, expected, "{text}");
        }
    }
}
