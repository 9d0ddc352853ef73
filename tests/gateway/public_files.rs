//! The Control UI's files, which the Gateway serves to every origin, and so does the filter.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use harness::gateway::installed;
use harness::wire::{self, Connection, Response};

use crate::agreement::stack;
use crate::devices::{PROXY, connect};

const FOREIGN: &[(&str, &str)] = &[("host", "claw.example.com"), ("origin", "https://evil.example")];
const USER: &[(&str, &str)] =
    &[("x-forwarded-for", "203.0.113.7"), ("x-forwarded-user", "nick@example.com"), ("x-edge", "x")];

#[test]
fn every_origin_gets_the_files_of_the_control_ui_and_nothing_that_the_gateway_guards() {
    let stack = stack();
    let ask = |method: &str, path: &str| {
        let straight = send(wire::open(stack.gateway().address()).unwrap(), method, path, &[]);
        let guarded = send(wire::open(stack.gateway().address()).unwrap(), method, path, USER);
        let through = send(connect(&stack, PROXY), method, path, USER);
        (straight, guarded, through)
    };
    // One file for each folder and extension. A folder or a file that a new release adds must be looked at.
    let mut files = BTreeMap::new();
    list(&installed().0.join("dist/control-ui"), "", &mut files).unwrap();
    let mut refused = Vec::new();
    for path in files.values() {
        for method in ["GET", "HEAD"] {
            let (straight, _, through) = ask(method, path);
            assert_eq!(straight.status, 200, "{method} {path}: {straight:?}");
            // An answer to HEAD has no body, and so no reason.
            if through.header("www-authenticate").is_none() {
                assert_eq!((through.status, through.body), (200, straight.body), "{method} {path}");
            } else {
                refused.push((method, path.as_str()));
            }
        }
    }
    assert!(files.len() > 20, "{files:?}");
    // What browsers do not load with an Origin. The page itself is one of these.
    let unneeded = [
        "/asset-manifest.json",
        "/index.html",
        "/social-card.png",
        "/cloud-provider-icons/LICENSE-devicon",
        "/cloud-provider-icons/README.md",
        "/provider-icons/ATTRIBUTION.md",
    ];
    let expected: Vec<_> = unneeded.iter().flat_map(|path| [("GET", *path), ("HEAD", *path)]).collect();
    assert_eq!(refused, expected);

    // What the Gateway refuses for its origin, and what it answers to everybody although browsers do not need it.
    for (method, path, guards) in [
        ("GET", "/control-ui-config.json", true),
        ("GET", "/avatar/main", true),
        ("GET", "/api/users/x/avatar", true),
        ("GET", "/__openclaw__/assistant-media?source=x", true),
        ("GET", "/__openclaw__/plugin-icon/x.png", true),
        ("GET", "/__openclaw__/plugins/control-ui/report/x.js", false),
        ("GET", "/sessions/main/history", true),
        ("POST", "/sessions/main/kill", true),
        ("POST", "/tools/invoke", true),
        ("GET", "/v1/models", true),
        ("GET", "/v1/models/x.js", true),
        ("GET", "/report/x.js", true),
        ("POST", "/assets/report.js", true),
        ("GET", "/", false),
        ("GET", "/chat", false),
        ("GET", "/x.js", false),
        ("GET", "/assets/none", false),
        ("POST", "/assets/none.js", false),
    ] {
        let (_, guarded, through) = ask(method, path);
        assert_eq!(guarded.status == 401, guards, "{method} {path}: {guarded:?}");
        assert_eq!(reason(&through), "trusted_proxy_origin_not_allowed", "{method} {path}: {through:?}");
    }

    // A file that is missing, and one that a plugin replaced: the Gateway answers both, and guards the second itself.
    let (straight, _, through) = ask("GET", "/assets/none.js");
    assert_eq!((straight.status, through.status), (404, 404), "{through:?}");
    let (_, guarded, through) = ask("GET", "/assets/report.js");
    assert_eq!((guarded.status, through.status, reason(&through).as_str()), (401, 401, ""), "{through:?}");
}

/// The first file of each folder and extension, by both. Compressed copies are not served under their own names.
fn list(folder: &Path, below: &str, files: &mut BTreeMap<(String, String), String>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        let extension = entry.path().extension().unwrap_or_default().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, files)?;
        } else if !["br", "gz"].contains(&extension.as_str()) {
            // At the root, every file is one of its own.
            let key = if below.is_empty() { path.clone() } else { extension };
            files.entry((below.to_owned(), key)).or_insert(path);
        }
    }
    Ok(())
}

fn send(stream: std::net::TcpStream, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = FOREIGN.to_vec();
    all.extend(headers);
    if method == "POST" {
        all.push(("content-length", "0"));
    }
    let mut connection = Connection::new(stream);
    connection.send(&wire::request(method, path, &all)).unwrap();
    connection.response(method).unwrap()
}

/// The filter's reason. The Gateway's answers have none.
fn reason(response: &Response) -> String {
    response.json()["error"]["reason"].as_str().unwrap_or_default().to_owned()
}
