//! A minimal Kubernetes API server for a real kubectl. It validates every object strictly against the schemas in
//! `tests/data/crds`, and stores it. Nothing else of a cluster exists: no controllers, no admission, no access
//! control.

mod protobuf;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::envoy::root;
use crate::gateway::lay;
use crate::manifests::Schemas;
use crate::wire::{Connection, owned, values};

/// Every kubectl on this machine: the one on the path, and the one that `make test-manifests` installs.
///
/// # Panics
/// If there is none, with one line that says what to do.
pub fn kubectls() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|place| place.join("kubectl")).find(|file| file.is_file());
    let fetched = Some(root().join(".tools/kubectl/usr/bin/kubectl")).filter(|file| file.is_file());
    let all: Vec<_> = on_path.into_iter().chain(fetched).collect();
    assert!(!all.is_empty(), "kubectl is missing: run `make test-manifests`, which installs it");
    all
}

/// A kind that the server supports.
#[derive(Clone, Debug)]
struct Kind {
    /// `v1`, or group and version.
    version: String,
    name: String,
}

impl Kind {
    /// The name in paths. For custom resources this is only a convention, but the ones here follow it.
    fn plural(&self) -> String {
        let name = self.name.to_lowercase();
        name.strip_suffix('y').map_or(format!("{name}s"), |stem| format!("{stem}ies"))
    }

    fn in_namespace(&self) -> bool {
        self.name != "Namespace"
    }

    fn group(&self) -> (&str, &str) {
        self.version.split_once('/').unwrap_or(("", &self.version))
    }

    /// The root of its version: `/api/v1`, `/apis/group/version`.
    fn root(&self) -> String {
        format!("/api{}/{}", if self.version.contains('/') { "s" } else { "" }, self.version)
    }

    /// The form in OpenAPI documents.
    fn tagged(&self) -> Value {
        let (group, version) = self.group();
        json!({"group": group, "version": version, "kind": self.name})
    }
}

/// What a path refers to.
struct Target {
    kind: Kind,
    namespace: Option<String>,
    name: Option<String>,
}

/// An answer: status, type, body.
type Answer = (u16, &'static str, Vec<u8>);

fn json(status: u16, value: &Value) -> Answer {
    (status, "application/json", value.to_string().into_bytes())
}

/// A refusal in Kubernetes' format.
fn refused(status: u16, reason: &str, message: &str) -> Answer {
    refused_for(status, reason, message, &Value::Null)
}

fn refused_for(status: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "code": status, "reason": reason, "message": message, "details": details,
    });
    json(status, &body)
}

struct State {
    schemas: Schemas,
    kinds: Vec<Kind>,
    /// By path.
    objects: Mutex<BTreeMap<String, Value>>,
    ended: AtomicBool,
}

/// A server on a free port of 127.0.0.1, until it is dropped.
pub struct ApiServer {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts the server. Like a cluster, it has the namespace `default`, and none of ours.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let schemas = Schemas::load();
        let kinds = schemas.kinds().map(|(version, name)| Kind { version, name }).collect();
        let default = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
        let objects = Mutex::new(BTreeMap::from([("/api/v1/namespaces/default".to_owned(), default)]));
        let state = Arc::new(State { schemas, kinds, objects, ended: AtomicBool::new(false) });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let accepting = std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                for stream in listener.incoming() {
                    if state.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = Arc::clone(&state);
                    // Ends when kubectl closes its connections. A connection that kubectl aborts is not an error.
                    std::thread::spawn(move || stream.and_then(|stream| state.serve(stream)));
                }
            }
        });
        Self { address, state, accepting: Some(accepting) }
    }

    /// Makes a command and its child processes find this kubectl and, through it, this server. Files that kubectl
    /// keeps go into this folder.
    ///
    /// # Panics
    /// If the folder cannot be written to.
    pub fn attend(&self, command: &mut Command, kubectl: &Path, folder: &Path) {
        let config = folder.join("kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test", "users": [{"name": "test", "user": {}}],
            "clusters": [{"name": "test", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(&config, text.to_string()).expect("the folder can be written to");
        let path = env::var_os("PATH").unwrap_or_default();
        let first = kubectl.parent().into_iter().map(Path::to_owned);
        let path = env::join_paths(first.chain(env::split_paths(&path))).expect("folders");
        command.env("PATH", path).env("KUBECONFIG", config).env("HOME", folder).env("TMPDIR", folder);
    }

    /// One object; a namespace object is itself not in a namespace.
    pub fn object(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let is = |one: &&Value| {
            one["kind"] == kind
                && one["metadata"]["name"] == name
                && one["metadata"].get("namespace").and_then(Value::as_str) == namespace
        };
        self.state.objects().values().find(is).cloned()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

impl State {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Value>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut connection = Connection::new(stream);
        while let Some(head) = connection.head()? {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut slots);
            request.parse(&head).map_err(io::Error::other)?;
            let (method, path) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
            let headers = owned(request.headers);
            let body = connection.body(&headers)?.map(|(body, _)| body).unwrap_or_default();
            let kind_of_body = values(&headers, "content-type").concat();
            let path = path.split('?').next().unwrap_or_default();
            let (status, kind, body) = self.answer(method, path, &kind_of_body, &body);
            let head = format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.send(&[head.as_bytes(), &body].concat())?;
        }
        Ok(())
    }

    fn answer(&self, method: &str, path: &str, kind_of_body: &str, body: &[u8]) -> Answer {
        if let Some(told) = self.discovery(path).filter(|_| method == "GET") {
            return told;
        }
        let Some(target) = self.target(path) else {
            return refused(404, "NotFound", "the server could not find the requested resource");
        };
        match (method, &target.name) {
            ("GET", Some(name)) => {
                self.objects().get(path).map_or_else(|| missing(&target.kind, name), |one| json(200, one))
            }
            ("POST", None) => self.create(&target, path, kind_of_body, body),
            ("PATCH", Some(name)) => self.change(&target, name, path, kind_of_body, body),
            _ => refused(405, "MethodNotAllowed", &format!("{method} of {path} is not supported")),
        }
    }

    /// The server's resources, for clients of every age.
    fn discovery(&self, path: &str) -> Option<Answer> {
        let groups = || {
            let mut versions: Vec<_> = self.kinds.iter().map(|kind| kind.version.clone()).collect();
            versions.sort();
            versions.dedup();
            versions.into_iter()
        };
        let told = match path {
            "/version" => json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"}),
            "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
            "/apis" => {
                let mut all = BTreeMap::<String, Vec<Value>>::new();
                for version in groups() {
                    if let Some((group, number)) = version.split_once('/') {
                        let told = json!({"groupVersion": version, "version": number});
                        all.entry(group.to_owned()).or_default().push(told);
                    }
                }
                let all = all.into_iter().map(|(group, versions)| json!({"name": group, "versions": versions}));
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all.collect::<Vec<_>>()})
            }
            // Old clients only accept protocol buffers: field 1 of the document is its version, and it has no
            // definitions. What their own checks would find is found here.
            "/openapi/v2" => {
                const TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
                return Some((200, TYPE, b"\x0a\x032.0".to_vec()));
            }
            "/openapi/v3" => {
                let place = |version: &str| {
                    if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") }
                };
                let paths = groups().map(|version| {
                    let place = place(&version);
                    let told = json!({"serverRelativeURL": format!("/openapi/v3/{place}")});
                    (place, told)
                });
                json!({"paths": paths.collect::<serde_json::Map<_, _>>()})
            }
            _ => {
                let (at, is_openapi) = path.strip_prefix("/openapi/v3").map_or((path, false), |at| (at, true));
                let kinds: Vec<_> = self.kinds.iter().filter(|kind| kind.root() == at).collect();
                let version = &kinds.first()?.version;
                if is_openapi { openapi(&kinds) } else { resources(version, &kinds) }
            }
        };
        Some(json(200, &told))
    }

    fn target(&self, path: &str) -> Option<Target> {
        let kind_at = |root: &str, plural: &str| {
            self.kinds
                .iter()
                .find(|kind| path.starts_with(&kind.root()) && kind.root() == root && kind.plural() == plural)
        };
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let roots = if parts.first() == Some(&"api") { 2 } else { 3 };
        let (root, rest) = parts.split_at_checked(roots)?;
        let root = format!("/{}", root.join("/"));
        let (namespace, plural, name) = match rest {
            ["namespaces", namespace, plural, name @ ..] => (Some((*namespace).to_owned()), *plural, name),
            [plural, name @ ..] => (None, *plural, name),
            [] => return None,
        };
        let kind = kind_at(&root, plural)?.clone();
        let name = match name {
            [] => None,
            [name] => Some((*name).to_owned()),
            _ => return None,
        };
        (kind.in_namespace() == namespace.is_some()).then_some(Target { kind, namespace, name })
    }

    fn create(&self, target: &Target, path: &str, kind_of_body: &str, body: &[u8]) -> Answer {
        let object = match kind_of_body {
            protobuf::TYPE => protobuf::object(body),
            _ => serde_json::from_slice::<Value>(body).ok(),
        };
        let Some(mut object) = object else {
            return refused(400, "BadRequest", &format!("the object is not a readable {kind_of_body}"));
        };
        without_nulls(&mut object);
        let metadata = &mut object["metadata"];
        if let Some(namespace) = &target.namespace {
            if !self.objects().contains_key(&format!("/api/v1/namespaces/{namespace}")) {
                return refused(404, "NotFound", &format!("namespaces \"{namespace}\" not found"));
            }
            if metadata.get("namespace").is_some_and(|named| named != namespace.as_str()) {
                return refused(400, "BadRequest", "the namespace of the object differs from that of the request");
            }
            metadata["namespace"] = json!(namespace);
        }
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let at = format!("{path}/{name}");
        if self.objects().contains_key(&at) {
            return refused(409, "AlreadyExists", &format!("{} \"{name}\" already exists", target.kind.plural()));
        }
        self.keep(&target.kind, &name, at, object, 201)
    }

    fn change(&self, target: &Target, name: &str, path: &str, kind_of_body: &str, body: &[u8]) -> Answer {
        // A merge patch. For labels and annotations, a strategic merge patch does the same.
        let is_known =
            matches!(kind_of_body, "application/merge-patch+json" | "application/strategic-merge-patch+json");
        let patch = serde_json::from_slice::<Value>(body).ok().filter(|_| is_known);
        let Some(patch) = patch else {
            return refused(415, "UnsupportedMediaType", &format!("{kind_of_body} is not supported"));
        };
        let Some(mut object) = self.objects().get(path).cloned() else { return missing(&target.kind, name) };
        lay(&mut object, &patch);
        self.keep(&target.kind, name, path.to_owned(), object, 200)
    }

    /// Stores an object if it is valid.
    fn keep(&self, kind: &Kind, name: &str, at: String, object: Value, status: u16) -> Answer {
        let mut judged = object.clone();
        // The cluster sets it.
        judged.as_object_mut().map(|fields| fields.remove("status"));
        let mut problems = self.schemas.problems(&judged);
        if (object["apiVersion"].as_str(), object["kind"].as_str()) != (Some(&kind.version), Some(&kind.name)) {
            problems.push(format!("this is not a {} of {}", kind.name, kind.version));
        }
        if !problems.is_empty() {
            let message = format!("{} \"{name}\" is invalid: {}", kind.name, problems.join("; "));
            let cause = |problem: &String| json!({"reason": "FieldValueInvalid", "message": problem});
            let causes: Vec<_> = problems.iter().map(cause).collect();
            // Old kubectls show only these.
            return refused_for(422, "Invalid", &message, &json!({"name": name, "kind": kind.name, "causes": causes}));
        }
        self.objects().insert(at, object.clone());
        json(status, &object)
    }
}

fn missing(kind: &Kind, name: &str) -> Answer {
    refused(404, "NotFound", &format!("{} \"{name}\" not found", kind.plural()))
}

/// Nulls count as absent.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn resources(version: &str, kinds: &[&Kind]) -> Value {
    let told = |kind: &&Kind| {
        json!({
            "name": kind.plural(), "singularName": kind.name.to_lowercase(), "namespaced": kind.in_namespace(),
            "kind": kind.name, "verbs": ["create", "get", "patch"],
        })
    };
    let all: Vec<_> = kinds.iter().map(told).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all})
}

/// Declares that objects are validated here, strictly, so that kubectl does not need their schemas.
fn openapi(kinds: &[&Kind]) -> Value {
    let paths = kinds.iter().map(|kind| {
        let namespace = if kind.in_namespace() { "/namespaces/{namespace}" } else { "" };
        let place = format!("{}{namespace}/{}/{{name}}", kind.root(), kind.plural());
        let parameter = json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string"}});
        let told = json!({"patch": {
            "x-kubernetes-group-version-kind": kind.tagged(), "parameters": [parameter], "responses": {},
        }});
        (place, told)
    });
    json!({
        "openapi": "3.0.0", "info": {"title": "a stand-in", "version": "1"},
        "paths": paths.collect::<serde_json::Map<_, _>>(),
    })
}
