//! The images in a real registry (Debian's docker-registry): pushed as `make push` does, pulled as Istio and others do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod consumer;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use harness::daemon::Daemon;
use harness::document::{commands, page};
use harness::envoy::{Scratch, root};
use harness::wire::{self, Response};
use image::images::{ARTIFACT_SUFFIX, bill_tag};
use image::layout::{MANIFEST, sha256};
use serde_json::Value;

const REPOSITORY: &str = "team/openclaw-trusted-proxy";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const INSECURE: &str = "--dest-tls-verify=false";

/// An empty registry.
struct Registry {
    address: SocketAddr,
    daemon: Daemon,
    scratch: Scratch,
}

impl Registry {
    fn start() -> Self {
        let scratch = Scratch::new("registry");
        let file = scratch.path().join("registry.yml");
        let config = serde_json::json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": scratch.path().join("blobs")}},
            "http": {"addr": "127.0.0.1:0"},
        });
        fs::write(&file, config.to_string()).unwrap();
        let mut daemon = Daemon::start(
            Command::new("docker-registry").arg("serve").arg(&file),
            "run `make test-image`, which installs it",
        );
        let address = daemon.line(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            rest.split(['"', ' ']).next()?.parse().ok()
        });
        Self { address, daemon, scratch }
    }

    fn repository(&self) -> String {
        format!("{}/{REPOSITORY}", self.address)
    }

    fn get(&self, path: &str, accept: &str) -> Response {
        wire::get(self.address, &format!("/v2/{REPOSITORY}/{path}"), &[("accept", accept)]).unwrap()
    }

    fn manifest(&self, reference: &str) -> Response {
        let response = self.get(&format!("manifests/{reference}"), MANIFEST);
        assert_eq!(response.status, 200, "{reference}: {response:?}");
        assert_eq!(response.header("content-type").as_deref(), Some(MANIFEST));
        response
    }

    fn blob(&self, digest: &str) -> Vec<u8> {
        let response = self.get(&format!("blobs/{digest}"), "*/*");
        assert_eq!(response.status, 200, "{digest}: {response:?}");
        assert_eq!(format!("sha256:{}", sha256(&response.body)), digest);
        response.body
    }
}

fn image(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image")).args(arguments).current_dir(root()).output().unwrap()
}

fn pushed(registry: &Registry) -> String {
    let folder = registry.scratch.path().join("image").to_str().unwrap().to_owned();
    let module = "dist/openclaw-trusted-proxy.wasm";
    let written = image(&["write", module, "dist/openclaw-trusted-proxy.cdx.json", &folder]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let done = image(&["push", &folder, &registry.repository(), INSECURE]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    folder
}

fn module() -> Vec<u8> {
    fs::read(root().join("dist/openclaw-trusted-proxy.wasm")).unwrap()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is missing ({error}): run `make test-image`, which installs it"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_was_pushed_comes_back_under_the_same_digests() {
    let mut registry = Registry::start();
    let folder = pushed(&registry);
    let index: Value = serde_json::from_slice(&fs::read(format!("{folder}/index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 4);
    for entry in entries {
        let (tag, digest) = (
            entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap(),
            entry["digest"].as_str().unwrap(),
        );
        for reference in [tag, digest] {
            let manifest = registry.manifest(reference);
            assert_eq!(manifest.header("docker-content-digest").as_deref(), Some(digest), "{tag}");
            let written = fs::read(Path::new(&folder).join("blobs").join(digest.replace(':', "/"))).unwrap();
            assert!(manifest.body == written, "{tag}: the manifest was changed on the way");
        }
    }
    // Pushing again changes nothing.
    let again = image(&["push", &folder, &registry.repository(), INSECURE]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(registry.get("tags/list", "*/*").json()["tags"].as_array().unwrap().len(), 4);
    registry.daemon.listens(registry.address);
}

#[test]
fn the_command_of_the_page_pushes_the_image() {
    let registry = Registry::start();
    let shown = commands(&page("docs/image.md"));
    let [command] = shown.as_slice() else { panic!("{shown:?}") };
    let (target, to) = command.line.split_once(" TO=").unwrap();
    let (_, repository) = to.split_once('/').unwrap();
    let place = format!("{}/{repository}", registry.address);
    // The bill of materials exists already. Without the option, the module would be rebuilt while other tests read
    // it.
    let line = format!("{target} TO={place} SKOPEO_OPTIONS={INSECURE} --old-file=sbom");
    let mut make = Command::new("sh");
    make.args(["-c", &line]).current_dir(root()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // First the contents of the image, each with its digest, then what was pushed.
    let printed: Vec<_> = said.lines().filter_map(|line| line.split_once('\t')).collect();
    let [tag, artifact, ..] = printed.as_slice() else { panic!("{said}") };
    assert_eq!((tag.0, artifact.0, printed.len()), (VERSION, &*format!("{VERSION}{ARTIFACT_SUFFIX}"), 4), "{said}");
    for (tag, digest) in &printed {
        assert!(said.contains(&format!("\n{place}:{tag}\n")), "{said}");
        let path = format!("/v2/{repository}/manifests/{tag}");
        let manifest = wire::get(registry.address, &path, &[("accept", MANIFEST)]).unwrap();
        assert_eq!(manifest.header("docker-content-digest").as_deref(), Some(*digest), "{tag}");
    }
}

#[test]
fn istio_and_envoy_gateway_pull_the_module_by_tag_and_by_digest() {
    let registry = Registry::start();
    pushed(&registry);
    for tag in [VERSION.to_owned(), format!("{VERSION}{ARTIFACT_SUFFIX}")] {
        let digest = registry.manifest(&tag).header("docker-content-digest").unwrap();
        for reference in [&tag, &digest] {
            let manifest = registry.manifest(reference);
            let pulled = consumer::module(&manifest.body, |digest| registry.blob(digest)).unwrap();
            assert!(pulled == module(), "{reference}: a different module");
        }
    }
}

#[test]
fn other_peoples_tools_pull_unpack_and_inspect_it() {
    let registry = Registry::start();
    pushed(&registry);
    let image = format!("docker://{}:{VERSION}", registry.repository());
    let inspected: Value = serde_json::from_str(&run("skopeo", &["inspect", "--tls-verify=false", &image])).unwrap();
    assert_eq!(inspected["Labels"]["org.opencontainers.image.version"], VERSION, "{inspected}");
    assert_eq!(inspected["Architecture"], "wasm");

    let pulled = registry.scratch.path().join("pulled").to_str().unwrap().to_owned();
    run("skopeo", &["copy", "--quiet", "--src-tls-verify=false", &image, &format!("oci:{pulled}:x")]);
    let unpacked = registry.scratch.path().join("unpacked");
    run("umoci", &["unpack", "--rootless", "--image", &format!("{pulled}:x"), unpacked.to_str().unwrap()]);
    assert!(fs::read(unpacked.join("rootfs/plugin.wasm")).unwrap() == module(), "a different module");
}

#[test]
fn the_bill_of_materials_is_found_from_the_images_digest_and_names_its_module() {
    let registry = Registry::start();
    pushed(&registry);
    for tag in [VERSION.to_owned(), format!("{VERSION}{ARTIFACT_SUFFIX}")] {
        let digest = registry.manifest(&tag).header("docker-content-digest").unwrap();
        let bill = registry.manifest(&bill_tag(&digest)).json();
        assert_eq!(bill["subject"]["digest"], *digest);
        let bill: Value =
            serde_json::from_slice(&registry.blob(bill["layers"][0]["digest"].as_str().unwrap())).unwrap();
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], sha256(&module()));
    }
}

#[test]
fn a_push_that_cannot_work_says_why() {
    let registry = Registry::start();
    let folder = pushed(&registry);
    let nowhere = format!("{}/{REPOSITORY}", "127.0.0.1:1");
    let cases = [
        (vec!["push", "no-such-folder", &nowhere], "run `make image`"),
        (vec!["push", &folder, "docker://registry.example.com/x"], "for example, write registry.example.com/"),
        (vec!["push", &folder, "openclaw-trusted-proxy"], "for example, write registry.example.com/"),
        (vec!["push", &folder, &nowhere, INSECURE], "skopeo could not push"),
    ];
    for (arguments, expected) in cases {
        let output = image(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{arguments:?}: {said}");
    }
}
