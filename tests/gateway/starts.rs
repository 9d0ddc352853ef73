//! `check` and the Gateway's own validation on the same openclaw.json: never fine where the Gateway refuses.
//!
//! The files are real ones, and one that has every key of the schema. Each is changed in one to three places: names,
//! types, words and numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use harness::document::published;
use harness::envoy::root;
use harness::gateway::{installed, lay};
use harness::oracle;
use harness::tool::program;
use policy::config::Release;
use serde_json::{Map, Value, json};

use crate::generate::Random;

const TABLE: &str = "cli/src/check/schema.json";
const SEED: &str = "STARTS_SEED";
const CHANGED: usize = 1_200;
const CHANGED_OLDER: usize = 250;

#[test]
fn the_schema_of_the_newest_release_is_that_of_the_package() {
    let (schema, _) = oracle::validate_all(&installed().0, &[]);
    let newest = Release::NEWEST.to_string();
    published("gateway starts:: --features gateway", TABLE, |table| {
        with_schemas(table, &BTreeMap::from([(newest.clone(), schema.clone())]))
    });
}

#[test]
fn nothing_is_fine_that_the_gateway_refuses() {
    compare(Release::NEWEST, &installed().0, CHANGED);
}

/// The functions are those of the command that people run.
#[test]
fn the_command_refuses_the_file_of_the_documentation_in_the_same_words() {
    let text = fs::read_to_string(root().join("tests/cli/files/refused.json5")).unwrap();
    let said = oracle::validate(&text).unwrap_err();
    let errors = check(&[json5::from_str(&text).unwrap()]).remove(0);
    assert_eq!(errors.len(), 5);
    // The command hides whatever is below a password, its own text as well.
    assert!(said.contains("gateway.auth.password: *** input"), "{said}");
    for Error { path, problem, .. } in errors.iter().filter(|error| !error.path.contains("password")) {
        let words = problem.split_once(" refuses it: ").unwrap().1;
        assert!(said.contains(words), "{path}: {words}\n{said}");
    }
}

/// `make test-gateways` runs these.
mod releases {
    use super::*;
    use crate::releases::RELEASES;

    #[test]
    fn nothing_is_fine_that_an_older_gateway_refuses() {
        let mut schemas = BTreeMap::new();
        for release in RELEASES.iter().filter(|release| **release != Release::NEWEST.to_string()) {
            let package = root().join(".tools/gateways").join(release).join("package");
            let schema = compare(Release::parse(release).unwrap(), &package, CHANGED_OLDER);
            schemas.insert((*release).to_owned(), schema);
        }
        published("gateway starts:: --features gateway", TABLE, |table| with_schemas(table, &schemas));
        let table: Vec<Value> = serde_json::from_str(&fs::read_to_string(root().join(TABLE)).unwrap()).unwrap();
        let listed: BTreeSet<&str> = table.iter().map(|row| row["release"].as_str().unwrap()).collect();
        assert_eq!(listed, RELEASES.into_iter().collect());
    }
}

/// Compares both on changed files, and returns the release's schema.
fn compare(release: Release, package: &std::path::Path, count: usize) -> Value {
    let (schema, _) = oracle::validate_all(package, &[]);
    let seed = Random::seed(SEED);
    let mut random = Random::new(seed);
    let stamp = |file: &Value| {
        let mut file = file.clone();
        lay(&mut file, &json!({"meta": {"lastTouchedVersion": release.to_string()}}));
        file
    };
    let full = json!({"gateway": sample(&schema["properties"]["gateway"], "gateway"), "hooks": sample(&schema["properties"]["hooks"], "hooks")});
    let mut files: Vec<Value> = bases().iter().chain([&full]).map(stamp).collect();
    let pools = files.clone();
    // What is in the full file comes up as often as all the others.
    while files.len() < count + pools.len() {
        let mut file =
            if random.chance(50) { pools[pools.len() - 1].clone() } else { pools[random.below(pools.len())].clone() };
        for _ in 0..if random.chance(60) { 1 } else { 2 + random.below(2) } {
            change(&mut file, &schema, &mut random);
        }
        files.push(file);
    }
    let (_, theirs) = oracle::validate_all(package, &files);
    let ours = check(&files);
    let is_read = |path: &str| ["", "gateway", "hooks"].contains(&path.split('.').next().unwrap());
    let (mut refused, mut said, mut problems) = (0, 0, Vec::new());
    for ((file, theirs), ours) in files.iter().zip(&theirs).zip(&ours) {
        let theirs: Vec<_> = theirs.iter().filter(|(path, _)| is_read(path)).collect();
        refused += usize::from(!theirs.is_empty());
        for (path, text) in &theirs {
            let keys = unknown_keys(text);
            let paths: Vec<String> =
                if keys.is_empty() { vec![path.clone()] } else { keys.iter().map(|key| below(path, key)).collect() };
            for place in paths {
                // Of two settings that exclude each other, either may be named.
                let is_other = |error: &Error| place == "gateway.bind" && error.path == "gateway.tailscale.mode";
                let is_there = |error: &&Error| are_related(&error.path, &place) || is_other(error);
                let errors: Vec<_> = ours.iter().filter(is_there).collect();
                if errors.is_empty() {
                    problems.push(format!("LAXER at {place}: {text}\n  {file}"));
                }
                said += usize::from(errors.iter().any(|error| keys.is_empty() && error.problem.contains(text)));
            }
        }
        // What else is wrong in a file that the Gateway refuses, it does not always say.
        for error in ours.iter().filter(|error| error.is_of_schema && theirs.is_empty()) {
            problems.push(format!("STRICTER at {}: {}\n  {file}", error.path, error.problem));
        }
    }
    crate::say(&format!(
        "{release}: {} files, {refused} refused by both, {said} issues in the Gateway's words",
        files.len()
    ));
    assert!(
        problems.is_empty(),
        "{SEED}={seed}: {} problems\n{}",
        problems.len(),
        problems.iter().take(12).cloned().collect::<Vec<_>>().join("\n")
    );
    // Otherwise nothing was compared.
    assert!(refused > count / 2 && refused < files.len(), "{refused} of {} are refused", files.len());
    schema
}

/// The files of the examples and of the tool's tests.
fn bases() -> Vec<Value> {
    let proxies =
        fs::read_dir(root().join("envoy/proxies")).unwrap().map(|entry| entry.unwrap().path().join("openclaw.json"));
    let tests = ["openclaw.json", "older.json5", "risky.json5"].map(|name| root().join("tests/cli/files").join(name));
    let mut paths: Vec<PathBuf> = proxies.filter(|path| path.is_file()).chain(tests).collect();
    paths.sort();
    let mut files: Vec<Value> =
        paths.iter().map(|path| json5::from_str(&fs::read_to_string(path).unwrap()).unwrap()).collect();
    assert!(files.len() > 8, "{paths:?}");
    // Others, as people publish them.
    let proxy = |more: Value| {
        let mut file = json!({"gateway": {
            "mode": "local", "port": 18_789, "bind": "lan", "trustedProxies": ["172.16.0.0/12", "10.0.0.1"],
            "auth": {"mode": "trusted-proxy", "trustedProxy": {"userHeader": "x-forwarded-user"}},
            "controlUi": {"allowedOrigins": ["https://claw.example.com"]},
        }});
        lay(&mut file["gateway"], &more);
        file
    };
    files.extend([
        proxy(json!({
            "bind": "loopback", "tailscale": {"mode": "serve"},
            "auth": {"allowTailscale": true, "trustedProxy": {"userHeader": "tailscale-user-login"}},
        })),
        proxy(json!({
            "controlUi": {"enabled": true, "basePath": "/claw"}, "reload": {"mode": "hybrid"},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}, "responses": {"enabled": true}}},
        })),
        proxy(json!({
            "bind": "custom", "customBindHost": "127.0.0.1", "tailscale": {"mode": "serve"},
            "auth": {"password": "${GATEWAY_PASSWORD}", "rateLimit": {"maxAttempts": 10, "windowMs": 60_000}},
        })),
    ]);
    for file in &mut files {
        let blocks = file.as_object_mut().unwrap();
        blocks.retain(|name, _| ["gateway", "hooks"].contains(&name.as_str()));
    }
    files
}

/// A value with every key that a schema has.
fn sample(schema: &Value, path: &str) -> Value {
    match path {
        "gateway.bind" => return json!("loopback"),
        "gateway.mode" => return json!("local"),
        "gateway.auth.mode" => return json!("trusted-proxy"),
        "gateway.tailscale.mode" => return json!("off"),
        "gateway.publicOrigin" | "gateway.controlUi.allowedOrigins.0" => return json!("https://claw.example.com"),
        "gateway.portals.ingress.domain" => return json!("previews.example.net"),
        "gateway.portals.ingress.port" => return json!(18_790),
        "gateway.port" => return json!(18_789),
        "gateway.roles.default" => return json!("name"),
        "gateway.controlUi.chatMessageMaxWidth" => return json!("min(1280px, 82%)"),
        "gateway.auth.trustedProxy.cloudflareAccessOidc.issuer" => return json!("https://team.cloudflareaccess.com"),
        "gateway.tailscale.serviceName" => return json!("svc:claw"),
        "gateway.trustedProxies.0" => return json!("10.0.0.1"),
        "gateway.auth.trustedProxy.requiredHeaders.0" => return json!("x-edge"),
        "gateway.channelHealthCheckMinutes" | "gateway.channelStaleEventThresholdMinutes" => return json!(10),
        _ => {}
    }
    if let Some(first) = schema["enum"].as_array().and_then(|words| words.first()) {
        return first.clone();
    }
    if let Some(all) = ["anyOf", "oneOf"].iter().find_map(|one| schema[*one].as_array()) {
        // A reference to a secret rather than the secret, and an object rather than true.
        return sample(all.last().unwrap(), path);
    }
    match schema["type"].as_str() {
        Some("object") => {
            let named = schema["properties"].as_object().into_iter().flatten();
            let mut all: Map<_, _> =
                named.map(|(name, one)| (name.clone(), sample(one, &format!("{path}.{name}")))).collect();
            let free = &schema["additionalProperties"];
            if free.is_object() {
                all.insert("name".to_owned(), sample(free, &format!("{path}.name")));
            }
            Value::Object(all)
        }
        Some("array") => json!([sample(&schema["items"], &format!("{path}.0"))]),
        Some("boolean") => json!(false),
        Some("integer" | "number") => schema["minimum"].as_i64().map_or(json!(3), |least| json!(least.max(3))),
        Some("string") if schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^[A-Z]")) => {
            json!("A_NAME")
        }
        _ => json!("name"),
    }
}

/// Changes a file in one place.
fn change(file: &mut Value, schema: &Value, random: &mut Random) {
    let block = if random.chance(80) { "gateway" } else { "hooks" };
    let mut schema = schema;
    let mut node = &mut *file;
    let mut key = if random.chance(97) { block.to_owned() } else { String::new() };
    // Goes down a random way, and stops somewhere.
    while !key.is_empty()
        && node.get(&key).is_some_and(|below| below.is_object() && !below.as_object().unwrap().is_empty())
    {
        node = &mut node[&key];
        let below = schema["properties"].get(&key).unwrap_or(&schema["additionalProperties"]);
        schema = ["anyOf", "oneOf"].iter().find_map(|one| below[*one].as_array()?.last()).unwrap_or(below);
        let keys: Vec<&String> = node.as_object().unwrap().keys().collect();
        key = keys[random.below(keys.len())].clone();
        if random.chance(8) {
            break;
        }
    }
    let Some(members) = node.as_object_mut() else { return };
    let tricky = tricky(random);
    match random.below(10) {
        0 => drop(members.remove(&key)),
        1 | 2 => {
            let value = members.remove(&key).unwrap_or(json!(true));
            members.insert(misspelled(&key, random), value);
        }
        3 => drop(members.insert(misspelled("newKey", random), tricky)),
        4 => {
            // A key of the schema, with anything as its value.
            let known: Vec<&String> =
                schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
            if !known.is_empty() {
                members.insert(known[random.below(known.len())].clone(), tricky);
            }
        }
        5 => match members.get_mut(&key) {
            Some(Value::Array(items)) => items.push(tricky),
            Some(Value::String(text)) => *text = misspelled(text, random),
            Some(Value::Number(number)) => {
                let number = number.as_f64().unwrap();
                members.insert(
                    key,
                    random
                        .pick(&[json!(-number), json!(number + 0.5), json!(number * 100_000.0), json!(0)].each_ref())
                        .clone(),
                );
            }
            _ => drop(members.insert(key, tricky)),
        },
        _ => drop(members.insert(key, tricky)),
    }
}

fn misspelled(name: &str, random: &mut Random) -> String {
    let letters: Vec<char> = name.chars().collect();
    let at = random.below(letters.len() + 1);
    let (first, rest): (String, String) = (letters[..at].iter().collect(), letters[at..].iter().collect());
    match random.below(6) {
        0 => name.to_uppercase(),
        1 => name.to_lowercase(),
        2 => format!("{first}{}", rest.chars().skip(1).collect::<String>()),
        3 => format!("{first}x{rest}"),
        4 => format!(" {name} "),
        _ => format!("{name}s"),
    }
}

fn tricky(random: &mut Random) -> Value {
    const TEXTS: [&str; 58] = [
        "",
        " ",
        "x",
        "true",
        "18789",
        "0.0.0.0",
        "127.0.0.1",
        "localhost",
        "::1",
        "lan",
        "auto",
        "loopback",
        "custom",
        "tailnet",
        "off",
        "serve",
        "funnel",
        "hot",
        "hybrid",
        "remote",
        "none",
        "token",
        "strict",
        "ssh",
        "operator.admin",
        "operator.read",
        "operator.sessions.read",
        "operator.adminn",
        "https://claw.example.com",
        "https://claw.example.com/",
        "https://claw.example.com/x",
        "HTTPS://claw.example.com",
        "http://claw.example.com",
        "http://localhost:1",
        "http://[::1]:80",
        "https://u@claw.example.com",
        "https://claw.example.com?x",
        "https://256.1.1.1",
        "ftp://x",
        "claw.example.com",
        "example.com",
        "previews.example.net",
        "a.1",
        "-a.b",
        "10.0.0.1",
        "../x",
        "/abs",
        "~x",
        "a/b.mjs",
        "c:x",
        "960px",
        "calc(100% - 2rem)",
        "calc(100%",
        "12furlongs",
        "svc:a",
        "svc:-",
        "red",
        "https://team.cloudflareaccess.com",
    ];
    let long = "x".repeat(129);
    let objects = [
        json!({}),
        json!({"enabled": true}),
        json!({"source": "env", "provider": "default", "id": "A"}),
        json!({"source": "env", "provider": "default", "id": "a"}),
        json!({"source": "file", "provider": "default", "id": "/a~1b"}),
        json!({"source": "file", "provider": "default", "id": "/a~2"}),
        json!({"source": "exec", "provider": "default", "id": "a/../b"}),
        json!({"source": "exec", "provider": "d", "id": "vault/x"}),
        json!({"source": "store", "provider": "d", "id": "A"}),
        json!({"source": "vault", "provider": "d", "id": "A"}),
        json!({"source": "env"}),
        json!({"id": "A"}),
        json!({"Host": "x"}),
        json!({"x-a": "x", "X-A": "y"}),
        json!({"bad name": "x"}),
        json!({"": []}),
        json!({"x": ["operator.read"]}),
        json!({"default": "x", "definitions": {}}),
        json!({"mode": "serve"}),
        json!({"mode": "funnel"}),
        json!({"ingress": {"domain": "example.com", "port": 18_789}}),
        json!({"ingress": {"domain": "a.example.com", "port": 1}}),
        json!({"user": "x", "timeoutMs": 0}),
        json!({"sessionMode": "persistent"}),
        json!({"label": "  ", "color": "red"}),
    ];
    let lists = [
        json!([]),
        json!(["x"]),
        json!([1]),
        json!([null]),
        json!([""]),
        json!("x"),
        json!(["operator.read", "x"]),
        json!([{"sessionMode": "persistent"}]),
    ];
    let numbers = [
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(65_535),
        json!(65_536),
        json!(1e9),
        json!(9_007_199_254_740_993_i64),
        json!(1e300),
        json!(18_789),
    ];
    match random.below(10) {
        0 => Value::Null,
        1 => json!(random.chance(50)),
        2 | 3 => numbers[random.below(numbers.len())].clone(),
        4 => lists[random.below(lists.len())].clone(),
        5 | 6 => objects[random.below(objects.len())].clone(),
        7 if random.chance(10) => json!(long),
        _ => json!(random.pick(&TEXTS)),
    }
}

struct Error {
    path: String,
    problem: String,
    /// Whether it is about what the Gateway's validation looks at, and not about what the filter needs as well.
    is_of_schema: bool,
}

/// The errors of `check` for each file.
fn check(files: &[Value]) -> Vec<Vec<Error>> {
    let one = |file: &Value| {
        let mut command = Command::new(program());
        command.args(["check", "-", "--json", "--ignore-environment"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(file.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {file}"));
        let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("{answer}\n{file}"));
        assert_eq!(output.status.code(), Some(i32::from(!errors.is_empty())), "{answer}");
        let error = |error: &Value| Error {
            path: plain(error["path"].as_str().unwrap()),
            problem: error["problem"].as_str().unwrap().to_owned(),
            is_of_schema: error["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("filter.unknown_") || id == "check.config_invalid"),
        };
        errors.iter().map(error).collect()
    };
    let (first, second) = files.split_at(files.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| second.iter().map(one).collect::<Vec<_>>());
        let mut all: Vec<_> = first.iter().map(one).collect();
        all.extend(other.join().unwrap());
        all
    })
}

/// A path as the Gateway writes it: `a.0.b`.
fn plain(path: &str) -> String {
    path.replace("[\"", ".").replace("\"]", "").replace('[', ".").replace(']', "").trim_start_matches('.').to_owned()
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Whether one path is the other, or leads to it.
fn are_related(one: &str, other: &str) -> bool {
    let leads = |short: &str, long: &str| {
        short.is_empty() || long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    leads(one, other) || leads(other, one)
}

/// The keys in `Unrecognized keys: "a", "b"`.
fn unknown_keys(text: &str) -> Vec<String> {
    let list = text.strip_prefix("Unrecognized key").and_then(|rest| rest.split_once(": ")).map(|(_, list)| list);
    list.and_then(|list| serde_json::from_str(&format!("[{list}]")).ok()).unwrap_or_default()
}

/// The table with these schemas: the newest as it is, and each older one as a merge patch to the next newer one.
fn with_schemas(table: &str, new: &BTreeMap<String, Value>) -> String {
    let mut all: BTreeMap<Release, (String, Value)> = BTreeMap::new();
    let mut schema = Value::Null;
    let rows: Vec<Value> = serde_json::from_str(table).unwrap_or_default();
    let known = rows.iter().map(|row| {
        lay_schema(&mut schema, &row["patch"]);
        (row["release"].as_str().unwrap().to_owned(), schema.clone())
    });
    for (release, schema) in known.collect::<Vec<_>>().into_iter().chain(new.clone()) {
        all.insert(Release::parse(&release).unwrap(), (release, schema));
    }
    let mut before = Value::Null;
    let rows: Vec<Value> = all
        .into_values()
        .rev()
        .map(|(release, schema)| {
            let patch = difference(&before, &schema);
            before = schema;
            json!({"release": release, "patch": patch})
        })
        .collect();
    let mut text = String::new();
    print(&Value::Array(rows), 0, &mut text);
    text + "\n"
}

fn lay_schema(base: &mut Value, patch: &Value) {
    if base.is_null() { *base = patch.clone() } else { lay(base, patch) }
}

/// The merge patch from one value to another.
fn difference(from: &Value, to: &Value) -> Value {
    let (Some(old), Some(new)) = (from.as_object(), to.as_object()) else { return to.clone() };
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    gone.chain(changed.map(|(key, value)| (key.clone(), difference(old.get(key).unwrap_or(&Value::Null), value))))
        .collect()
}

/// JSON in which what fits is in one line.
fn print(value: &Value, depth: usize, out: &mut String) {
    let line = value.to_string();
    let (open, close, items): (_, _, Vec<(String, &Value)>) = match value {
        Value::Array(items) => ('[', ']', items.iter().map(|item| (String::new(), item)).collect()),
        Value::Object(members) => {
            let mut all: Vec<_> = members.iter().map(|(key, value)| (format!("{}: ", json!(key)), value)).collect();
            all.sort_by(|one, other| one.0.cmp(&other.0));
            ('{', '}', all)
        }
        _ => return out.push_str(&line),
    };
    let is_short = line.len() + depth <= 90;
    out.push(open);
    for (at, (key, item)) in items.iter().enumerate() {
        match (is_short, at) {
            (true, 0) => {}
            (true, _) => out.push_str(", "),
            (false, _) => {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&" ".repeat(depth + 1));
            }
        }
        out.push_str(key);
        print(item, depth + 1, out);
    }
    if !is_short {
        out.push('\n');
        out.push_str(&" ".repeat(depth));
    }
    out.push(close);
}
