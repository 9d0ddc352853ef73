//! The manifests of Istio with a TrafficExtension: made from those with a WasmPlugin, as `render` makes them.

use std::collections::BTreeSet;
use std::fs;

use harness::document::{page, published};
use harness::envoy::{Scratch, root};
use harness::manifests::{self, of_kind};
use serde_json::{Value, json};

use crate::recording::site::{OPENCLAW, tool};

#[path = "../../cli/src/render/traffic_extension.rs"]
mod made;

const FOLDER: &str = "envoy/istio";

/// The shipped manifests that have a WasmPlugin, by their names.
fn sources() -> BTreeSet<String> {
    let names =
        fs::read_dir(root().join(FOLDER)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.ends_with(".yaml") && page(&format!("{FOLDER}/{name}")).contains("\nkind: WasmPlugin\n"))
        .collect()
}

/// The same plugin in its other form.
fn other_form(plugin: &Value) -> Value {
    let mut other = plugin.clone();
    other["kind"] = json!("TrafficExtension");
    let spec = other["spec"].as_object_mut().unwrap();
    let own = ["selector", "targetRefs", "match", "phase", "priority"];
    let module: Vec<String> = spec.keys().filter(|key| !own.contains(&key.as_str())).cloned().collect();
    let module: serde_json::Map<_, _> = module.iter().map(|key| (key.clone(), spec.remove(key).unwrap())).collect();
    spec.insert("wasm".to_owned(), module.into());
    other
}

fn in_other_form(documents: &[Value]) -> Vec<Value> {
    let is_plugin = |one: &Value| one["kind"] == "WasmPlugin";
    documents.iter().map(|one| if is_plugin(one) { other_form(one) } else { one.clone() }).collect()
}

#[test]
fn the_files_with_a_traffic_extension_are_made_from_those_with_a_wasm_plugin() {
    let sources = sources();
    assert!(
        ["ingress.yaml", "gateway-api.yaml", "sidecar.yaml", "waypoint.yaml"]
            .iter()
            .all(|name| sources.contains(*name))
    );
    for name in &sources {
        let (from, to) = (format!("{FOLDER}/{name}"), format!("{FOLDER}/trafficextension/{name}"));
        let text = made::traffic_extensions(&page(&from)).unwrap();
        let head = format!(
            "# This is {from} with a TrafficExtension, which needs Istio 1.30, in place of the WasmPlugin.\n# It is made from that file: change that one.\n#\n"
        );
        published("cli", &to, |_| format!("{head}{text}"));
        // Nothing else differs, and no comment is about the other form.
        assert_eq!(manifests::read(&to), in_other_form(&manifests::read(&from)), "{to}");
        assert!(!text.contains("WasmPlugin") && !text.contains("1.25"), "{to}");
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(comments(&text).abs_diff(comments(&page(&from))) < 3, "{to}: comments are kept");
    }
    let made = fs::read_dir(root().join(FOLDER).join("trafficextension")).unwrap();
    assert_eq!(made.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>(), sources);
}

#[test]
fn what_has_no_other_form_is_not_made() {
    let plugin = |spec: &str| format!("kind: WasmPlugin\nmetadata: {{ name: one }}\nspec:\n{spec}");
    assert_eq!(made::traffic_extensions("kind: Gateway\n"), None);
    assert_eq!(made::traffic_extensions(&plugin("  targetRef: { kind: Gateway, name: one }\n  url: x\n")), None);
    // Between two documents, and with members that have lists and comments of their own.
    let spec = "  # Where.\n  match:\n  - mode: SERVER\n  # What.\n  url: x\n  vmConfig:\n    # Its environment.\n    env: []\n\n  phase: AUTHZ\n";
    let text = format!("kind: A\n---\n{}---\nkind: B\n", plugin(spec));
    let expected = "kind: A\n---\nkind: TrafficExtension\nmetadata: { name: one }\nspec:\n  # Where.\n  match:\n  - mode: SERVER\n  phase: AUTHZ\n  wasm:\n    # What.\n    url: x\n    vmConfig:\n      # Its environment.\n      env: []\n\n---\nkind: B\n";
    assert_eq!(made::traffic_extensions(&text).as_deref(), Some(expected));
}

#[test]
fn render_writes_either_form() {
    let folder = Scratch::new("form");
    fs::write(folder.path().join("openclaw.json"), OPENCLAW).unwrap();
    let render = |arguments: &[&str]| {
        let printed = tool(folder.path(), &[&["render", "istio", "openclaw.json"], arguments].concat()).with(0);
        manifests::parse(&printed).unwrap()
    };
    for placement in ["ingress", "gateway-api", "sidecar", "waypoint"] {
        for more in [&[][..], &["--proxy", "10.0.0.1", "--host", "claw.example.org"]] {
            if placement == "waypoint" && !more.is_empty() {
                continue;
            }
            let arguments = [&["--placement", placement][..], more].concat();
            let plain = render(&arguments);
            assert_eq!(plain, render(&[&arguments[..], &["--api", "wasmplugin"]].concat()), "{arguments:?}");
            let other = render(&[&arguments[..], &["--api", "trafficextension"]].concat());
            assert_eq!(other, in_other_form(&plain), "{arguments:?}");
            assert_eq!(of_kind(&other, "TrafficExtension")["spec"]["wasm"]["failStrategy"], "FAIL_RELOAD");
        }
    }
    let wrong = tool(folder.path(), &["render", "istio", "openclaw.json", "--api", "lua"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("wasmplugin, trafficextension"), "{}", wrong.stderr);
}
