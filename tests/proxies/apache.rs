//! Apache with mod_auth_openidc.

use std::fs;
use std::path::Path;

use harness::daemon::Daemon;
use harness::envoy::eventually;
use harness::openid::{Browser, SECRET};

use crate::place::{ORIGIN, Place, Seen};
use crate::visitor::Visitor;
use crate::{Front, HOW, check, check_browser, check_cookies, check_groups, put};

/// Apache with the folder's file, and more lines for its virtual host.
fn start(more: &str) -> (Place, Daemon) {
    let place = Place::with_provider("apache", "client_secret_basic");
    let folder = place.certificate();
    let folder = folder.to_str().unwrap();
    let secrets =
        format!("OIDCClientSecret \"{SECRET}\"\nOIDCCryptoPassphrase \"another secret of this test\"\n{more}");
    let secrets_file = format!("{folder}/secrets.conf");
    fs::write(&secrets_file, secrets).unwrap();
    let places = [("/etc/apache2/tls", folder), ("/etc/apache2/openidc-secrets.conf", &secrets_file)];
    let site = put(&place, "apache/openclaw.conf", &places);
    // What Debian's apache2.conf has, and the modules that the file names.
    let modules: String = [
        "mpm_event",
        "authn_core",
        "authz_core",
        "authz_user",
        "ssl",
        "headers",
        "proxy",
        "proxy_http",
        "auth_openidc",
    ]
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .concat();
    let main = format!(
        "{modules}ServerRoot {folder}\nServerName claw.example.com\nPidFile {folder}/apache.pid\n\
         DefaultRuntimeDir {folder}\nErrorLog /dev/stderr\nListen 443\nInclude {site}\n"
    );
    let main_file = place.folder().join("apache.conf");
    fs::write(&main_file, main).unwrap();
    let mut command = place.provider().known_to(Path::new("/usr/sbin/apache2"));
    command.args(["-X", "-f"]).arg(main_file);
    let mut apache = Daemon::start(&mut command, HOW);
    apache.listens(place.proxy());
    (place, apache)
}

/// The start of the names of its cookies.
const COOKIE: &str = "mod_auth_openidc_";
/// What it answers to a stranger who does not ask for a page, as browsers do.
const STRANGER: u16 = 401;

fn signed_in<'p>(place: &'p Place, login: &str, status: u16) -> Visitor<'p> {
    let mut visitor = Visitor::new(place);
    // The login ends on the page that was asked for.
    let seen = visitor.sign_in("/page?number=1&more=2", login);
    assert_eq!(seen.status, status, "{login}: {seen:?}");
    let path = (status == 200).then_some("/page?number=1&more=2");
    assert_eq!(seen.json()["path"].as_str(), path, "{login}: {seen:?}");
    visitor
}

#[test]
fn apache_with_mod_auth_openidc() {
    let (place, _apache) = start("");
    let nick = signed_in(&place, "nick", 200);
    let to_provider = nick.redirects.iter().find(|url| url.path() == "/auth").expect("a redirect to the provider");
    let challenge = to_provider.query_pairs().find(|(name, _)| name == "code_challenge_method");
    assert_eq!(challenge.expect("PKCE").1, "S256", "{to_provider}");
    // Who has no address cannot sign in.
    let mut nobody = Visitor::new(&place);
    let refused = nobody.sign_in("/", "nobody");
    assert!(refused.text().contains("could not be set"), "{refused:?}");
    let nobody = nobody.cookies();
    let front = Front {
        user_header: "x-forwarded-user",
        asks_to_sign_in: STRANGER,
        keeps_addresses: false,
        nick: nick.cookies(),
        groupless: signed_in(&place, "nick-alone", 200).cookies(),
        eve: signed_in(&place, "eve", 401).cookies(),
        nameless: None,
        strangers: vec![String::new(), format!("{COOKIE}session=mallory"), nobody],
    };
    check(&place, &front);
    check_groups(&place, "x-forwarded-groups", &front, true);

    // Signing out ends the session at Apache: a copy of the cookie is worthless.
    let mut nick = nick;
    nick.get("/oauth2/callback?logout=https%3A%2F%2Fclaw.example.com%2F");
    assert!(!nick.cookies().contains(&format!("{COOKIE}session=")), "{}", nick.cookies());
    assert_eq!(place.get(&[("cookie", &front.nick), ORIGIN]), Seen::Answered(STRANGER, None));
}

#[test]
fn apache_and_a_browser() {
    let (place, _apache) = start("");
    check_browser(&place, Browser::sign_in);
}

#[test]
fn a_session_of_apache_in_cookies_ends_at_the_filter() {
    let (place, _apache) = start("OIDCSessionType client-cookie\nOIDCSessionCookieChunkSize 500\n");
    let cookies = signed_in(&place, "nick", 200).cookies();
    for part in ["session_chunks=", "session_0=", "session_1=", "session_2="] {
        assert!(cookies.contains(&format!("{COOKIE}{part}")), "{cookies}");
    }
    check_cookies(&place, &cookies, "/", "mod_auth_openidc_state_");
}

#[test]
fn a_session_of_apache_that_expired_is_asked_to_sign_in() {
    let (place, _apache) = start("OIDCSessionMaxDuration 15\n");
    let cookies = signed_in(&place, "nick", 200).cookies();
    let asks = |seen: Seen| seen == Seen::Answered(STRANGER, None);
    eventually("the session to expire", || asks(place.get(&[("cookie", &cookies), ORIGIN])));
    assert!(asks(place.websocket(&[("cookie", &cookies), ORIGIN])));
}
