//! The identity proxies of `envoy/proxies/`: real ones with exactly the files in that folder, and, for those that
//! cannot be installed, the headers that they are documented to send. In front of each: a browser. Behind each: a
//! real Envoy with the filter, and an echo server.

mod gateways;
mod login;
mod oidc;
mod place;
mod replayed;
mod tokens;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use harness::daemon::Daemon;
use harness::envoy::root;
use harness::wire::values;
use login::Login;
use place::{BROWSER, ORIGIN, Place, Seen, file};
use serde_json::json;

const HOW: &str = "run `make test-proxies`, which installs it";

/// Cookies by which a proxy identifies users.
struct Users<'a> {
    nick: &'a str,
    /// Nick, in no group.
    groupless: &'a str,
    eve: &'a str,
    /// Signed in, without an address.
    nameless: &'a str,
    strangers: Vec<&'a str>,
}

fn of_login() -> Users<'static> {
    Users {
        nick: login::NICK,
        groupless: login::GROUPLESS,
        eve: login::EVE,
        nameless: login::NAMELESS,
        strangers: vec!["", "_oauth2_proxy=mallory"],
    }
}

/// The header that only the filter writes.
const OWN: &str = "x-openclaw-user";

/// Checks that hold behind every proxy. `asks_to_sign_in` is the status that a stranger gets from the proxy.
fn check(place: &Place, user_header: &'static str, users: &Users<'_>, asks_to_sign_in: u16) {
    let forged = [
        (user_header, "nick@example.com"),
        (OWN, "nick@example.com"),
        ("x-forwarded-for", "192.0.2.99"),
        ("x-webauth-user", "nick@example.com"),
    ];
    let with = |cookie, more: &[(&'static str, &'static str)]| -> Vec<(String, String)> {
        let own = [("cookie", cookie), ORIGIN];
        own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let both = |headers: &[(String, String)]| {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        [place.get(&headers), place.websocket(&headers)]
    };
    let claim = (user_header, "nick@example.com");

    // Nick is always nick, with any additional headers, over HTTP and WebSocket.
    let lies: [Vec<(&str, &str)>; 4] = [
        vec![],
        vec![(user_header, "eve@example.com"), ("x-forwarded-for", "192.0.2.99"), ("x-webauth-user", "root")],
        vec![(OWN, "eve@example.com"), ("x-real-ip", "192.0.2.99")],
        vec![(user_header, "eve@example.com"), (user_header, "mallory@example.com")],
    ];
    let mut arrived = Vec::new();
    for more in &lies {
        for (seen, is_websocket) in both(&with(users.nick, more)).into_iter().zip([false, true]) {
            let Seen::Arrived(upstream) = seen else { panic!("nick with {more:?}: {seen:?}") };
            assert_eq!(values(&upstream, OWN), ["nick@example.com"], "{more:?}");
            assert!(values(&upstream, user_header).is_empty(), "{upstream:?}");
            assert_eq!(values(&upstream, "x-forwarded-for"), [BROWSER], "{more:?}");
            assert!(!values(&upstream, "x-real-ip").contains(&"192.0.2.99".to_owned()), "{upstream:?}");
            assert!(values(&upstream, "x-webauth-user").is_empty(), "{upstream:?}");
            let scopes: &[&str] = if is_websocket { &[] } else { &["operator.write"] };
            assert_eq!(values(&upstream, "x-openclaw-scopes"), scopes, "{more:?}");
            arrived.push((is_websocket, upstream));
        }
    }
    place.gateway_takes(&arrived, "nick@example.com");
    let arrived = place.requests();
    assert_eq!(arrived, 2 * lies.len());

    // Eve is signed in, but not on the list. The filter's answer comes back through the proxy, including the close
    // frame.
    for more in [&[][..], &[claim]] {
        let reason = "trusted_proxy_user_not_allowed";
        let [page, socket] = both(&with(users.eve, more));
        assert_eq!(page, Seen::Answered(401, Some(reason.to_owned())), "{more:?}");
        assert_eq!(socket, Seen::Closed(1008, format!("proxy authentication required: {reason}")), "{more:?}");
    }
    // Signed in, but the proxy has no user name; the client's own header must not become one.
    for more in [&[][..], &[claim]] {
        let reason = "trusted_proxy_user_missing";
        let [page, socket] = both(&with(users.nameless, more));
        assert_eq!(page, Seen::Answered(401, Some(reason.to_owned())), "{more:?}");
        assert_eq!(socket, Seen::Closed(1008, format!("proxy authentication required: {reason}")), "{more:?}");
    }
    // Strangers do not get past the proxy, with any headers.
    for stranger in &users.strangers {
        for more in [&[][..], &[claim]] {
            for seen in both(&with(stranger, more)) {
                assert_eq!(seen, Seen::Answered(asks_to_sign_in, None), "{stranger:?} {more:?}");
            }
        }
    }
    // They cannot bypass it either, even with all headers that the proxy would send.
    for host in ["browser", "stranger", "gateway"] {
        let reason = "trusted_proxy_untrusted_source";
        assert_eq!(place::ask(place.to_envoy(host), &forged), Seen::Answered(401, Some(reason.to_owned())), "{host}");
        let closed = Seen::Closed(1008, format!("proxy authentication required: {reason}"));
        assert_eq!(place::open(place.to_envoy(host), place::HOST, &forged), closed, "{host}");
    }
    assert_eq!(place.requests(), arrived, "what is refused must not reach the upstream");
    place.is_closed_without_the_filter(
        "proxy",
        &[ORIGIN, (user_header, "nick@example.com"), ("x-forwarded-for", BROWSER)],
    );
}

/// Checks that the groups are the proxy's. `has_groups`: it knows that nick is one of the staff.
fn check_groups(place: &Place, groups_header: &'static str, users: &Users<'_>, has_groups: bool) {
    let groups = json!({"staff": ["operator.read"], "admins": ["operator.admin"]});
    place.put_filter(&json!({"scopes": {"users": {"*": []}, "groupsHeader": groups_header, "groups": groups}}));
    let scopes = |cookie: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie), ORIGIN][..], more].concat();
        [place.get(&headers), place.websocket(&headers)].map(|seen| {
            let Seen::Arrived(upstream) = seen else { panic!("{more:?}: {seen:?}") };
            values(&upstream, "x-openclaw-scopes").join("")
        })
    };
    for (cookie, is_staff) in [(users.nick, has_groups), (users.groupless, false)] {
        let honest = scopes(cookie, &[]);
        assert_eq!(honest[0], if is_staff { "operator.read" } else { "" }, "{groups_header}");
        assert_eq!(honest[1].split(',').any(|scope| scope == "operator.read"), is_staff, "{groups_header}");
        let claim = (groups_header, "admins");
        for lies in [&[claim][..], &[claim, claim], &[(groups_header, "staff,admins")]] {
            assert_eq!(scopes(cookie, lies), honest, "{lies:?}");
        }
    }
}

fn sign_in() -> Login {
    Login::start("127.0.0.1:4180".parse::<SocketAddr>().unwrap())
}

/// A file of `envoy/proxies/`, with this test's addresses filled in.
fn put(place: &Place, name: &str, places: &[(&str, &str)]) -> String {
    let text = places.iter().fold(file(name), |text, (from, to)| {
        assert!(text.contains(from), "{name} has no {from}");
        text.replace(from, to)
    });
    let path = place.folder().join(name.replace('/', "-"));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn nginx_with_auth_request() {
    let place = Place::new("nginx");
    let _login = sign_in();
    let folder = place.certificate().to_str().unwrap().to_owned();
    let site = put(&place, "nginx/openclaw.conf", &[("/etc/nginx/tls", &folder)]);
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    let main = format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr; user root;\n\
         events {{}}\nhttp {{ access_log off; {temporary} include {site}; }}\n"
    );
    let main_file = place.folder().join("nginx.conf");
    fs::write(&main_file, main).unwrap();
    let mut nginx =
        Daemon::start(Command::new("nginx").args(["-e", "stderr", "-p", &folder, "-c"]).arg(main_file), HOW);
    nginx.listens(place.proxy());
    check(&place, "x-auth-request-email", &of_login(), 302);
    check_groups(&place, "x-auth-request-groups", &of_login(), true);
}

/// Caddy's handling of a header that the login did not send differs between releases; its file must be correct for
/// all of them.
#[test]
fn caddy_with_forward_auth_old_and_new() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let versions =
        makefile.lines().find_map(|line| line.strip_prefix("CADDY_VERSIONS := ")).expect("versions of Caddy");
    let installed = versions.split(' ').map(|version| root().join(format!(".tools/caddy-{version}/bin/caddy")));
    for program in installed.chain([PathBuf::from("caddy")]) {
        // Each on its own thread, which is on the proxy's host.
        thread::spawn(move || caddy(&program)).join().unwrap();
    }
}

fn caddy(program: &Path) {
    let place = Place::new("caddy");
    let _login = sign_in();
    let folder = place.certificate().to_str().unwrap().to_owned();
    let caddyfile = put(&place, "caddy/Caddyfile", &[("/etc/caddy/tls", &folder)]);
    let caddyfile_text = fs::read_to_string(&caddyfile).unwrap();
    fs::write(&caddyfile, format!("{{\n\tadmin off\n}}\n{caddyfile_text}")).unwrap();
    let mut caddy = Daemon::start(
        Command::new(program)
            .args(["run", "--adapter", "caddyfile", "--config", &caddyfile])
            .envs(["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"].map(|name| (name, &folder))),
        HOW,
    );
    caddy.listens(place.proxy());
    check(&place, "x-forwarded-user", &of_login(), 302);
    check_groups(&place, "x-forwarded-groups", &of_login(), true);
}

#[test]
fn haproxy_with_signed_tokens() {
    let place = Place::new("haproxy");
    let folder = place.certificate();
    let both = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(folder.join(name)).unwrap()).concat();
    fs::write(folder.join("claw.pem"), both).unwrap();
    fs::write(folder.join("id.pem"), tokens::KEY).unwrap();
    let folder = folder.to_str().unwrap();
    let config = put(
        &place,
        "haproxy/haproxy.cfg",
        &[("/etc/haproxy/tls", folder), ("/etc/haproxy/id.example.com.pem", &format!("{folder}/id.pem"))],
    );
    let mut haproxy = Daemon::start(Command::new("haproxy").args(["-db", "-f", &config]), HOW);
    haproxy.listens(place.proxy());
    let cookie = |token| format!("claw_token={token}");
    let strangers = [
        tokens::EXPIRED,
        tokens::OTHER_APP,
        tokens::OTHER_ISSUER,
        tokens::FORGED,
        tokens::UNSIGNED,
        tokens::SIGNED_WITH_THE_PUBLIC_KEY,
        "x",
        "",
    ]
    .map(cookie);
    let users = Users {
        nick: &cookie(tokens::NICK),
        groupless: &cookie(tokens::NICK),
        eve: &cookie(tokens::EVE),
        nameless: &cookie(tokens::NAMELESS),
        strangers: strangers.iter().map(String::as_str).collect(),
    };
    check(&place, "x-forwarded-user", &users, 401);
    check_groups(&place, "x-forwarded-groups", &users, false);
}

#[test]
fn traefik_with_forward_auth() {
    let place = Place::new("traefik");
    let _login = sign_in();
    let folder = place.certificate().to_str().unwrap().to_owned();
    let dynamic = put(&place, "traefik/dynamic.yml", &[("/etc/traefik/tls", &folder)]);
    let config = put(&place, "traefik/traefik.yml", &[("/etc/traefik/dynamic.yml", &dynamic)]);
    let installed = root().join(".tools/traefik/bin/traefik");
    let mut traefik =
        Daemon::start(Command::new(installed).arg(format!("--configFile={config}")).env("HOME", &folder), HOW);
    traefik.listens(place.proxy());
    // It listens before it has read the second file.
    place.is_ready(307);
    check(&place, "x-forwarded-user", &of_login(), 307);
    check_groups(&place, "x-forwarded-groups", &of_login(), true);
}
