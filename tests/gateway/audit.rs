//! Compares `openclaw-trusted-proxy check` with the Gateway's own `openclaw security audit` on the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use harness::envoy::Scratch;
use harness::gateway;
use harness::tool::program;
use serde_json::{Value, json};

/// The intended differences, and their reasons.
#[derive(Clone, Copy)]
enum Differs {
    /// Only the Gateway reports it.
    Theirs(&'static str, Why),
    /// Only the tool reports it.
    Ours(&'static str, Why),
    /// Both report it, with the Gateway's severity and the tool's.
    Severity(&'static str, &'static str, &'static str, Why),
}

/// The reason, which the test's output shows.
#[derive(Clone, Copy)]
struct Why(&'static str);

use Differs::{Ours, Severity, Theirs};

/// For the filter this is not a finding but an error: it refuses the configuration.
const ERROR: Why = Why("an error to the filter: it would refuse everybody");
const NO_ORIGIN_CAN_PASS: Why =
    Why("the Gateway counts entries of the list, the filter those that an origin can equal");
const LOOPBACK_PROXY: Why =
    Why("the filter does not know where it runs, so it treats X-Real-IP as on an exposed Gateway");
const TOLD_ONCE: Why = Why("the Gateway reports it twice, the second time as gateway.trusted_proxy_no_proxies");
const NOT_THE_WAY_IN: Why = Why("about tools, not about access: left to the Gateway's own audit");

/// The valid configuration, with changes merged into it; null removes a key.
fn laid(changes: &Value) -> Value {
    let mut config = json!({"gateway": {
        "mode": "local", "bind": "lan", "trustedProxies": ["10.0.0.1"],
        "auth": {"mode": "trusted-proxy", "trustedProxy": {
            "userHeader": "x-forwarded-user", "requiredHeaders": ["x-edge"], "allowUsers": ["nick@example.com"],
        }},
        "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
    }});
    gateway::lay(&mut config, changes);
    config
}

struct Case {
    name: &'static str,
    /// openclaw.json, and other files next to it.
    files: Vec<(&'static str, String)>,
    environment: Value,
    differs: &'static [Differs],
}

fn cases() -> Vec<Case> {
    let plain = |name, changes: Value, differs| Case {
        name,
        files: vec![("openclaw.json", laid(&changes).to_string())],
        environment: json!({}),
        differs,
    };
    vec![
        plain("a good one", json!({}), &[]),
        plain(
            "everything open",
            json!({"gateway": {
                "auth": {"trustedProxy": {"allowUsers": [], "allowLoopback": true}},
                "controlUi": {"allowedOrigins": ["*"], "dangerouslyAllowHostHeaderOriginFallback": true},
                "allowRealIpFallback": true,
            }}),
            &[],
        ),
        plain(
            "the same on the loopback address, behind proxies elsewhere",
            json!({"gateway": {
                "bind": "loopback",
                "auth": {"trustedProxy": {"allowUsers": null, "allowLoopback": true}},
                "controlUi": {"allowedOrigins": ["*"], "dangerouslyAllowHostHeaderOriginFallback": true},
                "allowRealIpFallback": true,
            }}),
            &[],
        ),
        plain(
            "a proxy on the same host",
            json!({"gateway": {
                "bind": "loopback", "trustedProxies": ["127.0.0.1", "::1"], "allowRealIpFallback": true,
                "auth": {"trustedProxy": {"allowLoopback": true}}, "controlUi": null, "tailscale": {"mode": "serve"},
            }}),
            &[Severity("gateway.real_ip_fallback_enabled", "warn", "critical", LOOPBACK_PROXY)],
        ),
        plain("no origins", json!({"gateway": {"controlUi": null}}), &[]),
        plain(
            "no origins, and no Control UI",
            json!({"gateway": {"controlUi": {"allowedOrigins": null, "enabled": false}}}),
            &[],
        ),
        plain(
            "no origin that can pass",
            json!({"gateway": {"controlUi": {"allowedOrigins": ["https://claw.example.com/path"]}}}),
            &[Ours("gateway.control_ui.allowed_origins_required", NO_ORIGIN_CAN_PASS)],
        ),
        plain(
            "devices approved by the proxy",
            json!({"gateway": {"auth": {"trustedProxy": {
                "deviceAutoApprove": {"enabled": true, "scopes": ["operator.admin"]},
            }}, "tools": {"allow": ["sessions_spawn"]}}}),
            &[Theirs("gateway.tools_invoke_http.dangerous_allow", NOT_THE_WAY_IN)],
        ),
        plain(
            "no proxies",
            json!({"gateway": {"bind": "loopback", "trustedProxies": [], "auth": {"token": "s3cr3t"}}}),
            &[
                Theirs("gateway.trusted_proxies_missing", TOLD_ONCE),
                Severity("gateway.trusted_proxy_no_proxies", "critical", "error", ERROR),
                Theirs("gateway.trusted_proxy_auth", ERROR),
            ],
        ),
        plain("every address is trusted", json!({"gateway": {"trustedProxies": ["0.0.0.0/0", "::/0"]}}), &[]),
        plain("a user without a name", json!({"gateway": {"auth": {"trustedProxy": {"allowUsers": [""]}}}}), &[]),
        plain("a blank origin", json!({"gateway": {"controlUi": {"allowedOrigins": ["  "]}}}), &[]),
        plain(
            "a funnel, and a password",
            json!({"gateway": {
                "bind": "loopback", "trustedProxies": ["127.0.0.1"], "tailscale": {"mode": "funnel"},
                "auth": {"password": "s3cr3t", "trustedProxy": {"allowLoopback": true}},
            }}),
            &[],
        ),
        plain("an automatic address", json!({"gateway": {"bind": "auto"}}), &[]),
        Case {
            name: "all that JSON5 allows, behind a byte order mark",
            files: vec![(
                "openclaw.json",
                "\u{FEFF}/* a */ {gateway: {'mode': 'local', \"bi\\u006ed\": 'la\\\nn', trustedProxies: ['10.0.0.1',], // b\n\
                 auth: {mode: 'trusted-proxy', trustedProxy: {userHeader: 'x-forwarded-user', allowUsers: [],},},\n\
                 controlUi: {allowedOrigins: ['\\x2a'],},},}\u{A0}"
                    .to_owned(),
            )],
            environment: json!({}),
            differs: &[],
        },
        Case {
            name: "includes and variables",
            files: vec![
                (
                    "openclaw.json",
                    r#"// JSON5, with all that the Gateway resolves.
                    {
                      $include: ['./gateway.json5'],
                      env: { vars: { CLAW_BIND: "lan", CLAW_ORIGIN: "https://claw.example.com" } },
                      gateway: {
                        bind: "${CLAW_BIND}",
                        controlUi: { allowedOrigins: ['${CLAW_ORIGIN}', "${CLAW_ANY}"] },
                        trustedProxies: ["10.0.0.3",],
                      },
                    }"#
                    .to_owned(),
                ),
                (
                    "gateway.json5",
                    r#"{ gateway: { $include: "sub/auth.json5", mode: 'local', trustedProxies: ["10.0.0.1"],
                         controlUi: { dangerouslyAllowHostHeaderOriginFallback: true } } }"#
                        .to_owned(),
                ),
                (
                    "sub/auth.json5",
                    r#"{ bind: "loopback", auth: { mode: "trusted-proxy", trustedProxy: { userHeader: "${CLAW_HEADER}" } } }"#
                        .to_owned(),
                ),
                (".env", "CLAW_HEADER=x-forwarded-user\nCLAW_ANY=\"https://other.example.com\"\n".to_owned()),
            ],
            // The environment takes precedence over the file.
            environment: json!({"CLAW_ANY": "*"}),
            differs: &[],
        },
    ]
}

/// The findings about access to the Gateway, by id.
type Findings = BTreeMap<String, String>;

fn findings(list: &[&Value], id: &str) -> Findings {
    let entry = |finding: &&Value| Some((finding[id].as_str()?.to_owned(), finding["severity"].as_str()?.to_owned()));
    list.iter().filter_map(entry).filter(|(id, _)| id.starts_with("gateway.")).collect()
}

fn theirs(cases: &[Case], folders: &[Scratch]) -> Vec<Findings> {
    let mut audit = gateway::script("audit.mjs");
    let mut audit = audit.arg(gateway::installed().0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = audit.stdin.take().unwrap();
    for (case, folder) in cases.iter().zip(folders) {
        writeln!(input, "{}", json!({"folder": folder.path(), "environment": case.environment})).unwrap();
    }
    drop(input);
    let output = audit.wait_with_output().unwrap();
    assert!(output.status.success(), "audit.mjs ends with {}", output.status);
    let lines = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len());
    let read = |(answer, case): (&Value, &Case)| {
        let report: Value = serde_json::from_str(answer["stdout"].as_str().unwrap()).unwrap_or_default();
        let list = report["findings"].as_array().unwrap_or_else(|| panic!("{}: no audit: {answer}", case.name));
        findings(&list.iter().collect::<Vec<_>>(), "checkId")
    };
    answers.iter().zip(cases).map(read).collect()
}

fn ours(case: &Case, folder: &Scratch) -> Findings {
    let mut check = Command::new(program());
    check.arg("check").arg(folder.path().join("openclaw.json")).arg("--json").env_clear();
    check.envs(case.environment.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap())));
    let output = check.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let list: Vec<&Value> = ["errors", "findings"].iter().filter_map(|key| report[key].as_array()).flatten().collect();
    assert!(!list.is_empty(), "{}: {report}", case.name);
    findings(&list, "id")
}

#[test]
fn check_finds_what_the_gateways_own_audit_finds_but_for_what_differs_on_purpose() {
    let cases = cases();
    let folders: Vec<Scratch> = cases.iter().map(|_| Scratch::new("audit")).collect();
    for (case, folder) in cases.iter().zip(&folders) {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for (name, text) in &case.files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let mut wrong = Vec::new();
    let mut agreed = BTreeSet::new();
    for ((case, folder), theirs) in cases.iter().zip(&folders).zip(theirs(&cases, &folders)) {
        let mut expected = theirs.clone();
        for differs in case.differs {
            let (Theirs(id, why) | Ours(id, why) | Severity(id, _, _, why)) = differs;
            println!("{}: {id} differs: {}", case.name, why.0);
            let applied = match *differs {
                Theirs(id, _) => expected.remove(id).is_some(),
                Ours(id, _) => expected.insert(id.to_owned(), "critical".to_owned()).is_none(),
                Severity(id, their, our, _) => {
                    expected.insert(id.to_owned(), our.to_owned()).is_some_and(|was| was == their)
                }
            };
            if !applied {
                wrong.push(format!("{}: the Gateway does not differ as expected: {theirs:?}", case.name));
            }
        }
        let ours = ours(case, folder);
        if ours == expected {
            agreed.extend(theirs.into_iter().filter(|(id, severity)| ours.get(id) == Some(severity)).map(|(id, _)| id));
        } else {
            wrong.push(format!("{}:\n  theirs {theirs:?}\n  ours   {ours:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("the same id and severity at least once: {agreed:#?}");
    assert!(agreed.len() >= 8, "only {agreed:?} were ever the same");
}
