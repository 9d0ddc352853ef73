//! The images as a layout on disk: complete, exactly as in the image specification, identical in each build, and
//! acceptable for Istio and Envoy Gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod consumer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::envoy::{Scratch, root};
use image::Release;
use image::images::{ARTIFACT_SUFFIX, BILL, RUNTIME_LAYER, bill_tag};
use image::layout::{REF_NAME, sha256};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout, Os};
use serde_json::{Value, json};

const MODULE: &str = "dist/openclaw-trusted-proxy.wasm";
const BOM: &str = "dist/openclaw-trusted-proxy.cdx.json";
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}; run `make sbom`", file.display()))
}

/// Runs the program as `make image` does, from a folder that is not a git checkout unless the test made it one.
fn write(from: &Path, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_image"))
        .arg("write")
        .args([root().join(MODULE), root().join(BOM)])
        .arg(folder)
        .current_dir(from)
        .env("GIT_CEILING_DIRECTORIES", from.parent().unwrap())
        .output()
        .unwrap()
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A layout that was read back from disk.
struct Read {
    index: ImageIndex,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Read {
    fn new(folder: &Path) -> Self {
        let files = files(folder);
        let layout = OciLayout::from_reader(&files[Path::new("oci-layout")][..]).unwrap();
        assert_eq!(layout.image_layout_version(), "1.0.0");
        Self { index: ImageIndex::from_reader(&files[Path::new("index.json")][..]).unwrap(), files }
    }

    fn blob(&self, digest: &str) -> &[u8] {
        let (algorithm, hex) = digest.split_once(':').unwrap();
        &self.files[&Path::new("blobs").join(algorithm).join(hex)]
    }

    fn tagged(&self, tag: &str) -> (&Descriptor, ImageManifest) {
        let named = |one: &&Descriptor| one.annotations().as_ref().is_some_and(|all| all[REF_NAME] == tag);
        let descriptor = self.index.manifests().iter().find(named).unwrap_or_else(|| panic!("no tag {tag}"));
        (descriptor, ImageManifest::from_reader(self.blob(descriptor.digest().as_ref())).unwrap())
    }
}

fn written() -> (Scratch, Read) {
    let scratch = Scratch::new("image");
    let output = write(scratch.path(), &scratch.path().join("image"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let layout = Read::new(&scratch.path().join("image"));
    (scratch, layout)
}

fn release<'a>(module: &'a [u8], bill: &'a [u8]) -> Release<'a> {
    Release { module, bill, revision: None }
}

#[test]
fn every_blob_is_what_its_descriptor_says_and_is_there_for_a_reason() {
    let (_scratch, layout) = written();
    let mut todo: Vec<Descriptor> = layout.index.manifests().clone();
    let mut seen = BTreeMap::new();
    while let Some(descriptor) = todo.pop() {
        let digest = descriptor.digest().to_string();
        let bytes = layout.blob(&digest);
        assert_eq!(digest, format!("sha256:{}", sha256(bytes)));
        assert_eq!(descriptor.size(), u64::try_from(bytes.len()).unwrap(), "{digest}");
        if *descriptor.media_type() == MediaType::ImageManifest {
            let manifest = ImageManifest::from_reader(bytes).unwrap();
            assert_eq!(manifest.media_type().as_ref(), Some(&MediaType::ImageManifest));
            todo.push(manifest.config().clone());
            todo.extend(manifest.layers().iter().chain(manifest.subject()).cloned());
        }
        seen.insert(digest, ());
    }
    // And the two files that make it a layout.
    assert_eq!(layout.files.len(), seen.len() + 2, "a blob that nothing refers to");
}

#[test]
fn istio_and_envoy_gateway_find_the_module_in_both_forms() {
    let (_scratch, layout) = written();
    for tag in [VERSION.to_owned(), format!("{VERSION}{ARTIFACT_SUFFIX}")] {
        let (descriptor, _) = layout.tagged(&tag);
        let manifest = layout.blob(descriptor.digest().as_ref());
        let module = consumer::module(manifest, |digest| layout.blob(digest).to_vec()).unwrap();
        assert!(module == read(&root().join(MODULE)), "{tag}: a different module");
    }
}

#[test]
fn what_istio_and_envoy_gateway_would_not_take_is_noticed() {
    let (_scratch, layout) = written();
    let manifest =
        |tag: &str| -> Value { serde_json::from_slice(layout.blob(layout.tagged(tag).0.digest().as_ref())).unwrap() };
    let judge =
        |manifest: &Value| consumer::module(manifest.to_string().as_bytes(), |digest| layout.blob(digest).to_vec());
    let mut artifact = manifest(&format!("{VERSION}{ARTIFACT_SUFFIX}"));
    let layer = artifact["layers"][0].clone();
    artifact["layers"].as_array_mut().unwrap().insert(0, layer);
    assert_eq!(judge(&artifact), Err("the number of layers must be 2, not 3".to_owned()));
    artifact["layers"].as_array_mut().unwrap().truncate(2);
    assert_eq!(judge(&artifact), Err("no layer with the module".to_owned()));
    let mut compat = manifest(VERSION);
    compat["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    assert_eq!(judge(&compat), Err("the number of layers must be 2, not 1".to_owned()));
}

#[test]
fn the_ordinary_image_is_complete_and_says_what_it_is() {
    let (_scratch, layout) = written();
    let (_, manifest) = layout.tagged(VERSION);
    let config = ImageConfiguration::from_reader(layout.blob(manifest.config().digest().as_ref())).unwrap();
    assert_eq!((config.os(), config.architecture()), (&Os::Linux, &Arch::Wasm));
    assert!(config.created().is_none(), "a timestamp would make each build different");

    let [layer] = &manifest.layers()[..] else { panic!("one layer") };
    let mut archive = Vec::new();
    let mut gzip = flate2::read::GzDecoder::new(layout.blob(layer.digest().as_ref()));
    std::io::Read::read_to_end(&mut gzip, &mut archive).unwrap();
    assert_eq!(config.rootfs().diff_ids(), &[format!("sha256:{}", sha256(&archive))]);
    let mut archive = tar::Archive::new(&archive[..]);
    let entries: Vec<_> = archive.entries().unwrap().map(Result::unwrap).collect();
    let [entry] = &entries[..] else { panic!("one file") };
    let header = entry.header();
    assert_eq!(entry.path().unwrap(), Path::new("plugin.wasm"));
    assert_eq!(
        (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap(), header.mode().unwrap()),
        (0, 0, 0, 0o644)
    );

    let annotations = manifest.annotations().clone().unwrap();
    assert_eq!(annotations["module.wasm.image/variant"], "compat");
    let labels = config.labels_of_config().unwrap();
    for (name, value) in [
        ("title", "openclaw-trusted-proxy"),
        ("licenses", "Apache-2.0"),
        ("version", VERSION),
        (
            "description",
            "A proxy-wasm filter that guards an OpenClaw Gateway in trusted-proxy mode behind Envoy or Istio",
        ),
    ] {
        let name = format!("org.opencontainers.image.{name}");
        assert_eq!((annotations[&name].as_str(), labels[&name].as_str()), (value, value), "{name}");
    }
}

#[test]
fn the_artifact_says_what_runtime_the_module_is_for() {
    let (_scratch, layout) = written();
    let (_, manifest) = layout.tagged(&format!("{VERSION}{ARTIFACT_SUFFIX}"));
    assert_eq!(manifest.artifact_type(), &Some(MediaType::Other(RUNTIME_LAYER.to_owned())));
    assert_eq!(manifest.config().media_type(), &MediaType::EmptyJSON);
    let runtime: Value = serde_json::from_slice(layout.blob(manifest.layers()[0].digest().as_ref())).unwrap();
    assert_eq!(runtime, json!({"type": "envoy_proxy", "abiVersions": ["v0.2.1"], "config": {"rootIds": [""]}}));
}

#[test]
fn each_image_has_the_bill_of_materials_as_its_referrer() {
    let (_scratch, layout) = written();
    for tag in [VERSION.to_owned(), format!("{VERSION}{ARTIFACT_SUFFIX}")] {
        let (image, _) = layout.tagged(&tag);
        let (_, bill) = layout.tagged(&bill_tag(image.digest().as_ref()));
        let subject = bill.subject().clone().unwrap();
        assert_eq!(
            (subject.digest(), subject.size(), subject.media_type()),
            (image.digest(), image.size(), image.media_type())
        );
        assert_eq!(bill.artifact_type(), &Some(MediaType::Other(BILL.to_owned())));
        assert!(layout.blob(bill.layers()[0].digest().as_ref()) == read(&root().join(BOM)), "a different bill");
    }
}

#[test]
fn two_builds_are_the_same_byte_for_byte() {
    let [first, second] = ["one", "another folder"].map(|name| {
        let scratch = Scratch::new(name);
        let output = write(scratch.path(), &scratch.path().join(name));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (files(&scratch.path().join(name)), output.stdout)
    });
    assert!(first == second, "two builds differ");
    // A build over a previous one leaves nothing of it.
    let scratch = Scratch::new("again");
    let folder = scratch.path().join("image");
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    fs::write(folder.join("blobs/sha256/old"), "old").unwrap();
    assert!(write(scratch.path(), &folder).status.success());
    assert!(files(&folder) == first.0);
}

#[test]
fn the_revision_is_that_of_a_clean_checkout_and_else_none() {
    let scratch = Scratch::new("checkout");
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
            .args(arguments)
            .current_dir(scratch.path())
            .output()
            .unwrap_or_else(|error| panic!("git is missing ({error}): install it (on Debian: apt-get install git)"));
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let revision = || {
        let elsewhere = Scratch::new("layout");
        let output = write(scratch.path(), &elsewhere.path().join("image"));
        let (_, manifest) = Read::new(&elsewhere.path().join("image")).tagged(VERSION);
        let said = String::from_utf8(output.stderr).unwrap();
        (manifest.annotations().clone().unwrap().remove("org.opencontainers.image.revision"), said)
    };
    let (none, said) = revision();
    assert!(none.is_none() && said.contains("no revision is recorded"), "{none:?} {said}");
    git(&["init", "--quiet"]);
    git(&["commit", "--quiet", "--allow-empty", "--message", "one"]);
    assert_eq!(revision(), (Some(git(&["rev-parse", "HEAD"])), String::new()));
    fs::write(scratch.path().join("changed"), "").unwrap();
    assert_eq!(revision().0, None);
}

#[test]
fn what_does_not_belong_together_makes_no_image() {
    let (module, bill) = (read(&root().join(MODULE)), read(&root().join(BOM)));
    assert!(release(&module, &bill).layout().is_ok());
    let of = |module: &[u8]| {
        let mut bill: Value = serde_json::from_slice(&bill).unwrap();
        bill["metadata"]["component"]["hashes"][0]["content"] = json!(sha256(module));
        bill.to_string().into_bytes()
    };
    let no_module = b"\0asm\x01\0\0\0";
    let cases: [(&[u8], Vec<u8>, &str); 4] = [
        (b"another", bill.clone(), "is not that of this module: run `make sbom`"),
        (&module, b"{".to_vec(), "is not JSON"),
        (no_module, of(no_module), "does not export proxy_abi_version_"),
        (b"text", of(b"text"), "is not a WebAssembly module"),
    ];
    for (module, bill, expected) in cases {
        let problem = release(module, &bill).layout().unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}
