//! What a kubelet does for the containers of a pod: their volumes, environments, users and programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Cluster, KUBERNETES};

/// A container: its processes have numbers of their own, so that they all end with the first one, and its user may open
/// /dev/stdout. The first two arguments are the user and the group.
const CONTAINER: &str = r#"
user=$1 group=$2 && shift 2
chown "$user:$group" /proc/self/fd/1 /proc/self/fd/2
exec unshare --pid --fork --kill-child sh -c '
trap "exit 143" TERM
user=$0 group=$1 && shift
setpriv --reuid "$user" --regid "$group" --clear-groups -- "$@" &
wait $!
' "$user" "$group" "$@"
"#;

/// A pod as the API server has it, with its files on this machine.
pub struct Pod<'c> {
    cluster: &'c Cluster,
    /// The object.
    pub object: Value,
    /// Files of this machine that its images have, and where.
    image: Vec<(PathBuf, String)>,
    folder: PathBuf,
}

impl<'c> Pod<'c> {
    /// Creates the volumes of a pod that the API server has.
    ///
    /// # Panics
    /// If there is no such pod, or something that it needs does not exist.
    pub fn new(cluster: &'c Cluster, namespace: &str, name: &str, image: &[(PathBuf, &str)]) -> Self {
        let object = cluster.api.object("pod", namespace, name);
        assert!(object.is_object(), "there is no pod {namespace}/{name}");
        let folder = cluster.folder(&format!("{namespace}-{name}"));
        let image = image.iter().map(|(from, to)| (from.clone(), (*to).to_owned())).collect();
        let this = Self { cluster, object, image, folder };
        for volume in this.object["spec"]["volumes"].as_array().into_iter().flatten() {
            this.make(volume);
        }
        this.write("kubernetes", "token", this.token("https://kubernetes.default.svc"));
        let authority = cluster.api.kubeconfig().with_file_name("certificates/apiserver.crt");
        this.write("kubernetes", "ca.crt", fs::read_to_string(authority).expect("the API server's certificate"));
        this
    }

    /// Its cluster.
    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// A container, or an init container.
    ///
    /// # Panics
    /// If there is no such container.
    pub fn container(&self, name: &str) -> &Value {
        let lists = ["containers", "initContainers"].map(|list| self.object["spec"][list].as_array());
        let mut all = lists.into_iter().flatten().flatten();
        all.find(|one| one["name"] == name).unwrap_or_else(|| panic!("no container {name}: {}", self.object["spec"]))
    }

    /// The program of a container with its arguments, its environment, its user and its files. Start it on the pod's
    /// host.
    ///
    /// # Panics
    /// If the pod has something that is not known here.
    pub fn command(&self, container: &str, program: &str) -> Command {
        let spec = self.container(container);
        let folder = self.folder.join("containers").join(container);
        let own = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).expect("the folder can be made");
            open(&path, 0o777);
            path
        };
        let service_account = self.folder.join("volumes/kubernetes");
        let mut mounts =
            vec![(own("etc"), "/etc"), (own("var"), "/var"), (own("bin"), "/usr/local/bin"), (own("tmp"), "/tmp")];
        fs::create_dir_all(folder.join("var/run")).expect("the folder can be made");
        // All names are in /etc/hosts, and no server knows others.
        fs::write(folder.join("etc/resolv.conf"), "nameserver 127.0.0.1\n").expect("the folder can be written to");
        mounts.extend(self.image.iter().map(|(from, to)| (from.clone(), to.as_str())));
        // iptables is a link to a file there.
        mounts.push((PathBuf::from("/etc/alternatives"), "/etc/alternatives"));
        mounts.push((service_account, "/var/run/secrets/kubernetes.io/serviceaccount"));
        for mount in spec["volumeMounts"].as_array().into_iter().flatten() {
            let name = mount["name"].as_str().expect("a mount names a volume");
            let volume = self.folder.join("volumes").join(name);
            if volume.is_dir() {
                mounts.push((volume, mount["mountPath"].as_str().expect("a mount has a path")));
            }
        }
        // A mount below another comes after it.
        mounts.sort_by_key(|(_, to)| to.matches('/').count());
        let mounts: Vec<(&Path, &str)> = mounts.iter().map(|(from, to)| (from.as_path(), *to)).collect();
        let name = format!("{}-{container}", self.text("/metadata/name"));
        let mut command = self.cluster.program(&name, Path::new("/bin/sh"), &mounts);
        let context = |key: &str| {
            let of = [&spec["securityContext"][key], &self.object["spec"]["securityContext"][key]];
            of.into_iter().find_map(Value::as_u64).unwrap_or_default().to_string()
        };
        command.args(["-euc", CONTAINER, "sh", &context("runAsUser"), &context("runAsGroup"), program]);
        let environment = self.environment(spec);
        let own = spec["args"].as_array().into_iter().flatten().map(|one| expand(one.as_str().unwrap(), &environment));
        command.args(own);
        command.env_clear().envs(environment).current_dir("/");
        command
    }

    /// The environment of a container.
    fn environment(&self, container: &Value) -> Vec<(String, String)> {
        let (host, _) = KUBERNETES;
        let given = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/"),
            ("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"),
            ("KUBERNETES_SERVICE_PORT", "6443"),
        ];
        let mut all: Vec<(String, String)> = given.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        for variable in container["env"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().expect("a variable has a name").to_owned();
            let from = &variable["valueFrom"];
            let value = if let Some(field) = from["fieldRef"]["fieldPath"].as_str() {
                match field {
                    "status.hostIP" => self.text("/status/podIP"),
                    "spec.nodeName" => host.to_owned(),
                    field => self.text(&format!("/{}", field.replace('.', "/"))),
                }
            } else if let Some(resource) = from["resourceFieldRef"]["resource"].as_str() {
                // What the machine has, if the container has no limit.
                if resource.ends_with("cpu") { "2".to_owned() } else { (1_u64 << 30).to_string() }
            } else {
                assert!(from.is_null(), "a variable from elsewhere: {variable}");
                expand(variable["value"].as_str().unwrap_or_default(), &all)
            };
            all.push((name, value));
        }
        all
    }

    /// Creates a volume, as far as there is something for it.
    fn make(&self, volume: &Value) {
        let name = volume["name"].as_str().expect("a volume has a name");
        let folder = self.folder.join("volumes").join(name);
        let (namespace, api) = (self.text("/metadata/namespace"), &self.cluster.api);
        let keys = |kind: &str, source: &Value, key: &str, data: &str| {
            let object = api.object(kind, &namespace, source[key].as_str().expect("a volume names its source"));
            if object.is_null() {
                assert_eq!(source["optional"], true, "the {kind} of {volume} is missing");
                return;
            }
            for (key, value) in object[data].as_object().into_iter().flatten() {
                let value = value.as_str().unwrap();
                let bytes = match kind {
                    "secret" => base64::engine::general_purpose::STANDARD.decode(value).expect("base64"),
                    _ => value.as_bytes().to_vec(),
                };
                self.write(name, key, bytes);
            }
        };
        let of = |key: &str| volume.get(key).filter(|value| !value.is_null());
        if let Some(source) = of("configMap") {
            keys("configmap", source, "name", "data");
        } else if let Some(source) = of("secret") {
            keys("secret", source, "secretName", "data");
        } else if let Some(source) = of("downwardAPI") {
            for item in source["items"].as_array().into_iter().flatten() {
                let field = item["fieldRef"]["fieldPath"].as_str().expect("a field").replace('.', "/");
                let values = self.object.pointer(&format!("/{field}")).and_then(Value::as_object);
                let lines: Vec<_> = values.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
                self.write(name, item["path"].as_str().expect("a path"), lines.join("\n"));
            }
        } else if let Some(source) = of("projected") {
            for source in source["sources"].as_array().into_iter().flatten() {
                let token = &source["serviceAccountToken"];
                let audience = token["audience"].as_str().unwrap_or_else(|| panic!("not a token: {source}"));
                self.write(name, token["path"].as_str().expect("a path"), self.token(audience));
            }
        } else {
            assert!(
                volume.as_object().is_some_and(|keys| keys.contains_key("emptyDir") || keys.len() == 1),
                "{volume}"
            );
            fs::create_dir_all(&folder).expect("the folder can be made");
            open(&folder, 0o777);
        }
    }

    fn write(&self, volume: &str, key: &str, bytes: impl AsRef<[u8]>) {
        let folder = self.folder.join("volumes").join(volume);
        fs::create_dir_all(&folder).expect("the folder can be made");
        fs::write(folder.join(key), bytes).expect("the folder can be written to");
    }

    fn token(&self, audience: &str) -> String {
        let account = self.object["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned();
        self.cluster.token(&self.text("/metadata/namespace"), &account, audience)
    }

    fn text(&self, pointer: &str) -> String {
        let value = self.object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    }
}

/// A pod of a template, as a controller would create it.
pub fn pod_of(template: &Value, namespace: &str, name: &str) -> Value {
    let mut pod = template.clone();
    (pod["apiVersion"], pod["kind"]) = (json!("v1"), json!("Pod"));
    (pod["metadata"]["name"], pod["metadata"]["namespace"]) = (json!(name), json!(namespace));
    pod
}

/// Sets the permissions of a folder that any user may write to.
fn open(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("the folder is this test's");
}

/// Replaces `$(NAME)` by the variable's value.
fn expand(text: &str, environment: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in environment {
        text = text.replace(&format!("$({name})"), value);
    }
    text
}
