//! Requests from a seeded generator: each starts as one that the Gateway admits, and then parts of it are made wrong.

use harness::wire::Headers;
use serde_json::{Value, json};

/// A small random number generator (SplitMix64): the same seed gives the same cases on every machine.
pub struct Random(u64);

impl Random {
    /// A generator for this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in this environment variable, or otherwise one from the clock.
    pub fn seed(variable: &str) -> u64 {
        match std::env::var(variable) {
            Ok(text) if !text.is_empty() => {
                text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number below 2^64"))
            }
            _ => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000_000,
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True in this percentage of calls.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Between `least` and `most` of these, in order.
    fn some<'a>(&mut self, from: &[&'a str], least: usize, most: usize) -> Vec<&'a str> {
        let mut left = least + self.below(most - least + 1);
        let mut taken = Vec::new();
        for (index, one) in from.iter().enumerate() {
            if left > 0 && self.below(from.len() - index) < left {
                taken.push(*one);
                left -= 1;
            }
        }
        taken
    }
}

/// One request and its configuration.
#[derive(Clone)]
pub struct Case {
    pub websocket: bool,
    /// Whether a plugin takes the upgrade. The Gateway takes those that none does.
    pub plugin: bool,
    pub peer: String,
    pub method: String,
    pub path: String,
    /// Host comes first; no handshake, no framing.
    pub headers: Headers,
    pub gateway: Value,
}

impl std::fmt::Display for Case {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.websocket { "WebSocket" } else { &self.method };
        write!(out, "{kind} {} from {}", self.path, self.peer)?;
        self.headers
            .iter()
            .try_for_each(|(name, value)| write!(out, ", {name}: {:?}", value.escape_ascii().to_string()))?;
        write!(out, ", to {}", self.gateway)
    }
}

impl Case {
    /// Replaces all copies of a header; without values, removes it.
    pub fn set(&mut self, name: &str, values: &[Vec<u8>]) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        let place = if name == "host" { 0 } else { self.headers.len() };
        for value in values.iter().rev() {
            self.headers.insert(place, (name.to_owned(), value.clone()));
        }
    }

    /// The first copy of a header, as text.
    pub fn first(&self, name: &str) -> Option<String> {
        harness::wire::values(&self.headers, name).into_iter().next()
    }

    fn user_header(&self) -> String {
        self.gateway["auth"]["trustedProxy"]["userHeader"].as_str().unwrap().to_ascii_lowercase()
    }
}

const PEERS: &[&str] = &[
    "10.0.0.1",
    "10.1.2.3",
    "172.17.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "fe80::1",
    "fd12::1",
    "203.0.113.15",
    "8.8.8.8",
    "2001:db8:5::77",
    "100.64.3.4",
    "192.168.7.9",
];
const GOOD_PEERS: &[&str] = &["10.0.0.1", "10.1.2.3", "172.17.0.1", "::ffff:10.0.0.1", "fd12::1", "172.31.255.255"];
const PROXIES: &[&str] = &[
    "10.0.0.1",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "100.64.0.0/10",
    "fd00::/8",
    "::ffff:172.17.0.1",
    "::ffff:10.0.0.0/104",
    "127.0.0.1",
    "127.0.0.0/8",
    "::1",
    "[10.0.0.1]",
    "0.0.0.0/0",
    "::/0",
    "fe80::1",
    "fe80::/10",
    "2001:db8:5::/48",
    "203.0.113.0/28",
    "198.51.100.7",
    "::1/128",
    "10.0.0.1/32",
];
const USUAL_PROXIES: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "127.0.0.0/8", "::1", "fd00::/8", "fe80::/10"];
/// The values of X-Forwarded-For and X-Real-IP.
const ADDRESSES: &[&str] = &[
    "198.51.100.7",
    "203.0.113.50",
    "10.0.0.1",
    "172.17.0.1",
    "127.0.0.1",
    "::1",
    "fe80::1%eth0",
    "::10.0.0.1",
    "::ffff:198.51.100.7",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "2001:db8:9::9",
    "010.1.1.1",
    "unknown",
    "",
    "_x",
    "1.2.3.4:80",
    "1.2.3.4:",
    "[::5]",
    "[::5]:80",
    "[1.2.3.4]x",
    "[ 1.2.3.4 ]",
    "[[::5]]",
    "[1.2.3.4",
    "\"1.2.3.4\"",
    "1.2.3.4:80:9",
    "::1%lo",
    "::ffff:8.8.8.8%x",
    "1.2.3.4%x",
    "::127.0.0.1",
    "0::127.0.0.1",
    "::0x7f.0.0.1",
    "::ffff:0177.0.0.1",
    "1.2.3",
    "0x1.2.3.4",
    "1.2.3.4.",
    "fd12::1",
    "::a00:1",
    "64:ff9b::1.2.3.4",
    "fe80::1%1-2",
    "2001:db8:5::77",
    "1.2.3.4 :80",
    "256.1.1.1",
];
const USERS: &[&str] = &["nick@example.com", "Nick@example.com", "admin@company.org", "ops", "jörg", "a,b", "łukasz"];
const USER_HEADERS: &[&str] = &[
    "x-forwarded-user",
    "x-auth-request-email",
    "X-User",
    "remote-user",
    "tailscale-user-login",
    "x-pomerium-claim-email",
];
const REQUIRED: &[&str] = &[
    "x-edge",
    "X-Forwarded-Proto",
    "x-pomerium-jwt-assertion",
    "from",
    "cookie",
    "set-cookie",
    "user-agent",
    "referer",
    "Age",
    "x-edge-secret",
];
const HOSTS: &[&str] = &[
    "claw.example.com",
    "CLAW.example.com",
    "10.0.0.9",
    "192.168.7.20:18789",
    "[fd00::1]:18789",
    "[::1]",
    "localhost",
    "localhost:5173",
    "box.local",
    "box.tail1.ts.net",
    "a.b.local:8443",
    "127.0.0.1:3000",
    "169.254.3.3",
    "100.64.1.1",
    "203.0.113.9",
    "[::ffff:10.0.0.9]",
    "[::ffff:a00:9]",
    "xn--bcher-kva.example",
    "1.2.3.4",
    ".local",
    "a..b",
    "claw.example.com.",
    "10.0.0.9.",
    "0x7f.1",
    "[fe80::1]",
    "[fec0::1]",
    "172.16.5.5:80",
    "2130706433",
];
const SCHEMES: &[&str] = &[
    "https",
    "https",
    "http",
    "http",
    "HTTPS",
    "ws",
    "wss",
    "ftp",
    "file",
    "chrome-extension",
    "app",
    "moz-extension",
    "ht+p",
    "h.t",
    "blob",
    "javascript",
    "about",
    "data",
];
/// Inserted somewhere into an origin's host.
const WEIRD: &[&str] = &[
    "!",
    "\"",
    "$",
    "&",
    "'",
    "(",
    ")",
    "*",
    "+",
    ",",
    "-",
    ".",
    ";",
    "=",
    "_",
    "`",
    "{",
    "}",
    "~",
    "^",
    "|",
    "<",
    ">",
    "@",
    " ",
    "%",
    "\\",
    "#",
    "?",
    "[",
    "]",
    ":",
    "/",
    "\t",
    "%41",
    "xn--a",
    "xn--0",
    "xn--bcher-kva",
    "ü",
    "1",
    "0x1",
    "00",
    "..",
    "127.1",
    "xn--80ak6aa92e",
    "xn--fiq228c.",
    "0x",
    "08",
    "1e3",
];
const ODD_ORIGINS: &[&str] = &[
    "null",
    "",
    " ",
    "*",
    "https://",
    "https:///",
    "//x",
    "https:/x",
    "https:x",
    "https:\\\\x",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "chrome-extension://ABCDEFGHIJKLMNOPABCDEFGHIJKLMNOP",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop:80",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop/",
    "file://",
    "file:///etc",
];
const PORTS: &[&str] =
    &[":", ":443", ":80", ":0443", ":8443", ":65535", ":65536", ":0", ":00", ":x", ":-1", ":+1", ":99999999999", ": 1"];
const ENDS: &[&str] = &["", "", "", "", "/", "//", "/x", "?", "#", " ", "\\"];
/// Texts that are not scopes, to go next to those that are.
const NOT_SCOPES: [&str; 5] = ["bogus", "OPERATOR.READ", "", "operator.read ", "operator"];
const PATHS: &[&str] = &[
    "/",
    "/tools/invoke",
    "/tools/invoke?x=1",
    "/tools//invoke",
    "/./tools/invoke",
    "/tools/%69nvoke",
    "/sessions/a/kill",
    "/sessions/a/b/kill",
    "/sessions/a/history",
    "/v1/models",
    "/v1/models/x",
    "/v1/models/x%2Fy",
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/hook",
    "/api/channels/x",
    "/avatar/main",
    "/api/users/x/avatar",
    "/__openclaw__/assistant-media?source=x",
    "/__openclaw__/plugin-icon/x",
    "/control-ui-config.json",
    "/__openclaw__/control-ui-config.json",
    "/__openclaw/control-ui-config.json",
];
/// The paths of upgrades: the Gateway's own, and those that a plugin may want.
const SOCKETS: &[&str] =
    &["/", "/", "/openclaw", "/openclaw/", "/desktop/observe", "/hook", "/api/channels/x", "/node", "/tools/invoke"];
/// Where the Control UI is mounted, most often. The paths of some requests are below it.
const MOUNTED: &str = "/openclaw";
/// Files of the Control UI, and paths that resemble one.
const FILES: &[&str] = &[
    "/assets/index.js?v=1",
    "/assets/a/b.css",
    "/fonts/instrument-sans-latin.woff2",
    "/manifest.webmanifest",
    "/assets/index.html",
    "/x/assets/index.js",
    "/x.js",
    "/v1/x.js",
    "/plugins/x.js",
    "/ui/assets/x.js",
];
const LATIN1_SPACE: u8 = 0xA0;

/// A case. About four in ten pass; the others break one or more rules.
pub fn case(random: &mut Random) -> Case {
    let mut case = good(random);
    let faults = match random.below(100) {
        0..40 => 0,
        40..80 => 1,
        80..93 => 2,
        _ => 3,
    };
    for _ in 0..faults {
        break_something(&mut case, random);
    }
    // A header must fit on its line.
    for (_, value) in &mut case.headers {
        value.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
    }
    case
}

fn good(random: &mut Random) -> Case {
    let websocket = random.chance(25);
    let is_file = random.chance(20);
    let user_header = random.pick(USER_HEADERS);
    let required = random.some(REQUIRED, 0, 2);
    let user = random.pick(USERS);
    let paths = if websocket && random.chance(70) { SOCKETS } else { PATHS };
    let mut case = Case {
        websocket,
        plugin: random.chance(50),
        peer: random.pick(GOOD_PEERS).to_owned(),
        method: if websocket { "GET" } else { random.pick(&["GET", "POST"]) }.to_owned(),
        path: random.pick(if is_file { FILES } else { paths }).to_owned(),
        headers: Headers::new(),
        gateway: json!({
            "trustedProxies": USUAL_PROXIES,
            "allowRealIpFallback": random.chance(30),
            "auth": {"mode": "trusted-proxy", "trustedProxy": {
                "userHeader": user_header, "requiredHeaders": required, "allowLoopback": random.chance(60),
            }},
            "controlUi": {
                "allowedOrigins": origins(random), "dangerouslyAllowHostHeaderOriginFallback": random.chance(25),
            },
            "http": {"endpoints": {
                "responses": {"enabled": random.chance(50)}, "chatCompletions": {"enabled": random.chance(50)},
            }},
        }),
    };
    if random.chance(40) {
        let mut users = random.some(USERS, 1, 3);
        users.push(user);
        // Bytes beyond ASCII, as the Gateway sees them: each as one character.
        let seen: Vec<String> = users.iter().map(|user| harness::wire::latin1(user.as_bytes())).collect();
        case.gateway["auth"]["trustedProxy"]["allowUsers"] = json!(seen);
    }
    draw_other_keys(&mut case, random);
    case.set("host", &[random.pick(HOSTS).into()]);
    case.set(
        "x-forwarded-for",
        &[random.pick(&["198.51.100.7", "203.0.113.50, 10.0.0.1", "2001:db8:9::9", "1.2.3.4:80, 127.0.0.1"]).into()],
    );
    let mut value = user.as_bytes().to_vec();
    match random.below(10) {
        0 => value.insert(0, LATIN1_SPACE),
        1 => value.extend([b' ', LATIN1_SPACE, b'\t']),
        _ => {}
    }
    case.set(&user_header.to_ascii_lowercase(), &[value]);
    for name in required {
        let values: &[&str] = random.pick(&[&["x"][..], &["x"], &["x", "y"], &["", "x"]]);
        // Node reads only the first copy of some headers.
        let values = if values[0].is_empty() && !name.starts_with("x-") { &["x"] } else { values };
        case.set(&name.to_ascii_lowercase(), &values.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>());
    }
    if random.chance(40) {
        let allowed = case.gateway["controlUi"]["allowedOrigins"].as_array().unwrap();
        let origin = match allowed.first().and_then(Value::as_str) {
            Some(origin) if origin.trim() != "*" => origin.trim().to_owned(),
            _ => {
                let host = case.first("host").unwrap();
                format!("{}://{host}", random.pick(&["http", "https", "HTTPS"]))
            }
        };
        case.set("origin", &[origin.into_bytes()]);
    }
    if random.chance(50) {
        case.set("x-openclaw-scopes", &scopes(random));
    }
    if is_file {
        case.gateway["controlUi"]["basePath"] = json!(random.pick(&["", "", "/", "/ui", "ui/"]));
        if random.chance(40) {
            case.set("origin", &[origin(random).into_bytes()]);
        }
    }
    if random.chance(25) {
        case.gateway["auth"]["allowTailscale"] = json!(random.chance(80));
    }
    if random.chance(40) {
        let site = random.pick(&["same-origin", "same-origin", "Same-Origin ", "none", "same-site", "cross-site", ""]);
        case.set("sec-fetch-site", &[site.into()]);
    }
    if random.chance(15) {
        case.set("authorization", &[random.pick(&["Bearer x", "bearer  x", "Bearer ", "Bearer", "Basic eDp5"]).into()]);
    }
    case
}

/// The keys that are usually absent, as the Gateway accepts them beside the users of a proxy.
fn draw_other_keys(case: &mut Case, random: &mut Random) {
    if random.chance(40) {
        let base = random.pick(&[MOUNTED, MOUNTED, "openclaw/", " /openclaw\u{a0}", "/", "", "/a/b"]);
        case.gateway["controlUi"]["basePath"] = json!(base);
        if random.chance(60) && !SOCKETS.contains(&&*case.path) {
            case.path.insert_str(0, MOUNTED);
        }
    }
    if random.chance(20) {
        case.gateway["controlUi"]["enabled"] = json!(random.chance(30));
    }
    if random.chance(20) {
        case.gateway["bind"] = json!(random.pick(&["auto", "lan", "loopback", "custom", "tailnet"]));
    }
    let auth = &mut case.gateway["auth"];
    if random.chance(10) {
        auth["token"] = json!(random.pick(&["", " \t"]));
        auth["password"] = json!("s3cret");
        auth["trustedProxy"]["cloudflareAccessOidc"] =
            json!({"issuer": "https://a.cloudflareaccess.com", "providerId": "p", "githubAccountIdClaim": "c"});
        case.gateway["remote"] = json!({"token": random.pick(&["", " "])});
    }
}

fn scopes(random: &mut Random) -> Vec<Vec<u8>> {
    let copies = if random.chance(10) { 2 } else { 1 };
    let texts = [&model::SCOPES[..], &NOT_SCOPES].concat();
    let list = |random: &mut Random| {
        let count = random.below(5);
        (0..count).map(|_| random.pick(&texts)).collect::<Vec<_>>().join(",").into_bytes()
    };
    (0..copies).map(|_| list(random)).collect()
}

fn origins(random: &mut Random) -> Value {
    match random.below(8) {
        0 => json!([]),
        1 => json!(["*"]),
        2 => json!(["HTTPS://Claw.example.com "]),
        3 => json!(["http://10.0.0.9", "app://a", " * "]),
        4 => json!([origin(random), origin(random), origin(random)]),
        _ => json!(["https://claw.example.com"]),
    }
}

fn origin(random: &mut Random) -> String {
    if random.chance(8) {
        return random.pick(ODD_ORIGINS).to_owned();
    }
    let scheme = if random.chance(70) { random.pick(&SCHEMES[..5]) } else { random.pick(SCHEMES) };
    let mut host = random.pick(HOSTS).to_owned();
    if random.chance(40) {
        host.insert_str(random.below(host.len() + 1), random.pick(WEIRD));
    }
    if random.chance(20) {
        host.push_str(random.pick(PORTS));
    }
    format!("{}{scheme}://{host}{}", random.pick(&["", "", "", "", " ", "\t"]), random.pick(ENDS))
}

fn chain(random: &mut Random) -> Vec<u8> {
    let count = random.pick(&[1, 1, 1, 2, 2, 3]);
    let separator = random.pick(&[",", ", ", " , "]);
    (0..count).map(|_| random.pick(ADDRESSES)).collect::<Vec<_>>().join(separator).into_bytes()
}

fn break_something(case: &mut Case, random: &mut Random) {
    let user_header = case.user_header();
    match random.below(12) {
        0 => case.peer = random.pick(PEERS).to_owned(),
        1 => case.gateway["trustedProxies"] = json!(random.some(PROXIES, 1, 5)),
        2 => {
            let copies = if random.chance(20) { 2 } else { 1 };
            let chains: Vec<_> = (0..copies).map(|_| chain(random)).collect();
            case.set("x-forwarded-for", &chains);
        }
        3 => {
            case.set("x-forwarded-for", &[]);
            case.set("x-real-ip", &[random.pick(ADDRESSES).into()]);
        }
        4 => {
            let blank: &[u8] = random.pick(&[&b""[..], b" ", b"\xA0", b",", b"\x85", b"\xFF"]);
            case.set(&user_header, &[blank.to_vec()]);
        }
        5 => case.set(&user_header, &[]),
        6 => {
            let second = random.pick(&["", "x", "nick@example.com"]);
            case.set(&user_header, &["nick@example.com".into(), second.into()]);
        }
        7 => case.gateway["auth"]["trustedProxy"]["allowUsers"] = json!([random.pick(USERS), ""]),
        8 => {
            let names = case.gateway["auth"]["trustedProxy"]["requiredHeaders"].as_array().unwrap();
            let name = names.first().and_then(Value::as_str).unwrap_or("x-edge").to_ascii_lowercase();
            case.gateway["auth"]["trustedProxy"]["requiredHeaders"] = json!([name]);
            let value: &[u8] = random.pick(&[&b""[..], b"\xA0", b"x"]);
            let copies = if random.chance(50) { vec![] } else { vec![value.to_vec()] };
            case.set(&name, &copies);
        }
        9 | 10 => {
            let copies = if random.chance(6) { 2 } else { 1 };
            let origins: Vec<_> = (0..copies).map(|_| origin(random).into_bytes()).collect();
            case.set("origin", &origins);
            if random.chance(30)
                && let Some((_, host)) = case.first("origin").unwrap().split_once("://")
                // Envoy refuses all other characters in a Host header.
                && !host.trim().is_empty()
                && host.trim().bytes().all(|byte| byte.is_ascii_graphic())
            {
                case.set("host", &[host.trim().trim_end_matches('/').into()]);
            }
        }
        _ => case.gateway["controlUi"]["allowedOrigins"] = json!([]),
    }
}
