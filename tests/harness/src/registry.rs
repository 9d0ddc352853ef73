//! A registry over TLS (Debian's docker-registry) that has the module's images.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::daemon::Daemon;
use crate::envoy::{self, Scratch, root};
use crate::tool;

/// The images' name in the registry.
const REPOSITORY: &str = "openclaw-trusted-proxy";

/// A running registry.
pub struct Registry {
    _daemon: Daemon,
    host: String,
    address: SocketAddr,
    digest: String,
    scratch: Scratch,
}

impl Registry {
    /// Starts a registry at an address of the calling thread's host, with a certificate for this name, and pushes the
    /// images of the release module to it.
    ///
    /// # Panics
    /// If a part is missing; the message says what to do.
    pub fn start(address: SocketAddr, host: &str) -> Self {
        let scratch = Scratch::new("registry");
        let folder = scratch.path();
        envoy::certificate(folder, &[host]).unwrap_or_else(|problem| panic!("{problem}"));
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": folder.join("blobs")}},
            "http": {
                "addr": address.to_string(),
                "tls": {"certificate": folder.join("cert.pem"), "key": folder.join("key.pem")},
            },
        });
        let file = folder.join("registry.yml");
        fs::write(&file, config.to_string()).expect("the folder can be written to");
        let how = "run `make test-cluster`, which installs it";
        let mut daemon = Daemon::start(Command::new("docker-registry").arg("serve").arg(&file), how);
        daemon.listens(address);

        let module = envoy::module().unwrap_or_else(|problem| panic!("{problem}"));
        let bill = module.with_extension("cdx.json");
        assert!(bill.is_file(), "{} is missing: run `make sbom`", bill.display());
        let mut this = Self { host: host.to_owned(), address, digest: String::new(), _daemon: daemon, scratch };
        this.digest = this.push(&module, &bill);
        this
    }

    /// Pushes the images of a module with its bill of materials, and returns the digest of the ordinary one.
    ///
    /// # Panics
    /// If that fails, with what was said.
    pub fn push(&self, module: &Path, bill: &Path) -> String {
        let images = self.scratch.path().join("images");
        let tool = tool::built("image");
        let image = |arguments: &[&OsStr]| {
            let output = Command::new(&tool).args(arguments).current_dir(root()).output();
            let output = output.expect("the tool runs");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let written = image(&["write".as_ref(), module.as_ref(), bill.as_ref(), images.as_ref()]);
        let (_, digest) = written.lines().next().and_then(|line| line.split_once('\t')).expect("a tag and its digest");
        let to = format!("{}/{REPOSITORY}", self.address);
        image(&["push".as_ref(), images.as_ref(), to.as_ref(), "--dest-tls-verify=false".as_ref()]);
        digest.to_owned()
    }

    /// The module's image, by its digest.
    pub fn image(&self) -> String {
        format!("{}/{REPOSITORY}@{}", self.host, self.digest)
    }

    /// The digest of that image.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The certificate that clients have to trust, as a PEM file.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.path().join("cert.pem")
    }
}
