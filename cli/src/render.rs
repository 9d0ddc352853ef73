//! `render`: configuration for Envoy, Istio, Envoy Gateway and the Gateway, made from the operator's own.
//!
//! The files in `envoy/` are the templates, and are part of this program. Each change finds its place by the text that
//! it replaces. If that text no longer exists, rendering fails, and so do the tests.

mod closed;
mod envoy;
mod gateway;
mod manifest;
mod named;
mod policy;
mod template;
mod traffic_extension;
mod yaml;

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::input::{self, Configuration, Hidden, Input};
use crate::named::{Front, proxy_or_address};
use crate::output::{Failure, Outcome, Output, Problem, visible};
use crate::proxies::Proxy;
use named::Missing;
use policy::Plugin;

const HELP: &str = "\
Examples:
  openclaw-trusted-proxy render envoy openclaw.json --proxy 10.0.0.1 --out deploy
  openclaw-trusted-proxy render envoy openclaw.json --proxy 10.0.0.1 \\
    --cert /tls/cert.pem --key /tls/key.pem --hsts 300 --record
  openclaw-trusted-proxy render envoy openclaw.json --proxy 10.0.0.1 --proxy oauth2-proxy
  openclaw-trusted-proxy render istio openclaw.json --placement sidecar
  openclaw-trusted-proxy render gateway openclaw.json --envoy 10.0.0.2

The output starts with a comment that names its source and lists what remains to be done.

Exit codes: 0 success, 1 the configuration has errors, 2 no answer.";

/// Print ready-to-use configuration for Envoy, Istio, Envoy Gateway or the Gateway
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Target {
    /// A bootstrap for Envoy, and the file with the filter and its policy that Envoy reads by ECDS
    Envoy(envoy::Args),
    /// A WasmPlugin or a TrafficExtension, and the resources that it needs
    Istio(manifest::Istio),
    /// An EnvoyExtensionPolicy and the resources that it needs
    EnvoyGateway(manifest::EnvoyGateway),
    /// The gateway block of openclaw.json for a Gateway behind the filter
    Gateway(gateway::Args),
}

/// Arguments of every target.
#[derive(Debug, clap::Args)]
struct Source {
    #[command(flatten)]
    given: Given,
    /// Write to this folder instead of standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite files in that folder
    #[arg(long, requires = "out")]
    force: bool,
}

/// The configuration, which may be left out if `--proxy` names an identity proxy and its address.
#[derive(Debug, clap::Args)]
struct Given {
    /// An openclaw.json or a plugin configuration; - is standard input. Without it, --proxy must give the name and the
    /// address of an identity proxy
    file: Option<PathBuf>,
    /// The filter's settings for an openclaw.json: a file with the object that a plugin configuration has under
    /// `filter`
    #[arg(long, value_name = "FILE", requires = "file")]
    filter: Option<PathBuf>,
    /// A file with NAME=value lines from the Gateway's environment; may be repeated, and the first file that sets a
    /// name wins
    #[arg(long, value_name = "FILE", requires = "file")]
    env_file: Vec<PathBuf>,
    /// Do not read this command's own environment, because the Gateway runs in a different one
    #[arg(long)]
    ignore_environment: bool,
}

impl Given {
    /// What it is called, and what is in it.
    fn read(&self, proxies: Option<&Proxies>) -> Result<(String, Configuration), Failure> {
        if let Some(file) = &self.file {
            let input = Input {
                file: file.clone(),
                filter: self.filter.clone(),
                env_file: self.env_file.clone(),
                ignore_environment: self.ignore_environment,
                ..Input::default()
            };
            return Ok((input::name_of(file), input.read()?));
        }
        let proxy = proxies.map(Proxies::named).transpose()?.flatten();
        let (Some(proxy), Some(proxies)) = (proxy, proxies) else {
            return Err(Failure::new("FILE", "is missing", "give an openclaw.json or a plugin configuration"));
        };
        if proxies.addresses().is_empty() {
            let problem = format!("names {}, but no address", proxy.name);
            return Err(Failure::new("--proxy", problem, "add --proxy IP, the address from which it connects"));
        }
        let name = format!("what {} sends", proxy.title);
        let configuration = Configuration::of_plugin(&name, r#"{"gateway": {}, "filter": {}}"#.to_owned())?;
        Ok((name, configuration))
    }
}

/// Proxies that connect to Envoy.
#[derive(Debug, clap::Args)]
struct Proxies {
    /// The address or CIDR block of a proxy that connects to this Envoy (filter.trustedProxies), or the name of an
    /// identity proxy, whose headers fill in what the configuration lacks; may be repeated
    #[arg(long, value_name = "IP|NAME", value_parser = proxy_or_address)]
    proxy: Vec<Front>,
    /// The header in which that proxy names the user [default: gateway.auth.trustedProxy.userHeader]
    #[arg(long, value_name = "NAME")]
    user_header: Option<String>,
}

impl Proxies {
    /// The addresses among `--proxy`.
    fn addresses(&self) -> Vec<String> {
        let address = |front: &Front| match front {
            Front::Address(address) => Some(address.clone()),
            Front::Named(_) => None,
        };
        self.proxy.iter().filter_map(address).collect()
    }

    /// The identity proxy that `--proxy` names.
    fn named(&self) -> Result<Option<&'static Proxy>, Failure> {
        let name = |front: &Front| match front {
            Front::Named(proxy) => Some(*proxy),
            Front::Address(_) => None,
        };
        let mut named = self.proxy.iter().filter_map(name);
        match (named.next(), named.next()) {
            (Some(one), Some(other)) if one.name != other.name => Err(Failure::new(
                "--proxy",
                format!("names both {} and {}", one.name, other.name),
                "name the one that connects to this Envoy",
            )),
            (first, _) => Ok(first),
        }
    }
}

/// A file that was rendered.
struct Rendered {
    /// Its path below the folder.
    name: &'static str,
    /// Its text, without the comment at the top.
    text: String,
}

/// What was rendered, and what remains to be done.
struct Rendering {
    files: Vec<Rendered>,
    todo: Vec<String>,
    /// How a comment starts.
    comment: &'static str,
}

/// Runs the subcommand.
pub fn run(args: &Args, out: &mut Output) -> Result<Outcome, Failure> {
    let source = match &args.target {
        Target::Envoy(args) => &args.source,
        Target::Istio(args) => &args.source,
        Target::EnvoyGateway(args) => &args.source,
        Target::Gateway(args) => &args.source,
    };
    let proxies = match &args.target {
        Target::Envoy(args) => Some(&args.proxies),
        Target::Istio(args) => Some(args.proxies()),
        Target::EnvoyGateway(args) => Some(args.proxies()),
        Target::Gateway(_) => None,
    };
    let proxy = proxies.map(Proxies::named).transpose()?.flatten();
    let (made_from, configuration) = source.given.read(proxies)?;
    let missing = proxy.zip(proxies).map(|(proxy, front)| Missing {
        proxy,
        addresses: front.addresses(),
        user_header: front.user_header.as_deref(),
        is_all: source.given.file.is_none(),
    });
    let fill = |whole: &mut Value, todo: &mut Vec<String>| {
        if let Some(missing) = missing {
            missing.fill(whole, todo);
        }
    };
    let plugin = match Plugin::read(configuration, fill) {
        Ok(plugin) => plugin,
        Err(problems) => return found(&problems, out),
    };
    let hidden = plugin.hidden.clone();
    let rendering = match &args.target {
        Target::Envoy(args) => envoy::render(args, plugin),
        Target::Istio(args) => manifest::istio(args, plugin),
        Target::EnvoyGateway(args) => manifest::envoy_gateway(args, plugin),
        Target::Gateway(args) => gateway::render(args, &plugin),
    };
    let rendering = match rendering {
        Ok(rendering) => rendering,
        Err(reason) => match reason.without_values(&hidden) {
            NotRendered::Policy(problems) => return found(&problems, out),
            NotRendered::Failure(failure) => return Err(failure),
        },
    };
    let files = rendering.with_heads(&visible(&made_from));
    if let Some(folder) = &source.out {
        write(folder, &files, source.force)?;
    }
    if out.is_json() {
        let shown: Vec<_> = files.iter().map(|(name, text)| json!({"name": name, "text": text})).collect();
        out.json(&json!({"files": shown, "todo": rendering.todo}))?;
    } else if let Some(folder) = &source.out {
        for (name, _) in &files {
            writeln!(out, "{}", visible(&folder.join(name).display().to_string()))?;
        }
    } else {
        for (name, text) in &files {
            if files.len() > 1 {
                writeln!(out, "---\n# file: {name}")?;
            }
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(Outcome::Fine)
}

/// Reports the errors in the configuration, as `check` does.
fn found(problems: &[Problem], out: &mut Output) -> Result<Outcome, Failure> {
    out.failure(&Failure::Input(problems.to_vec()))?;
    Ok(Outcome::Found)
}

/// Why nothing was rendered.
enum NotRendered {
    /// The policy that would be printed has errors.
    Policy(Vec<Problem>),
    Failure(Failure),
}

impl NotRendered {
    /// The same, without what variables became.
    fn without_values(self, hidden: &Hidden) -> Self {
        let without = |problem: Problem| {
            let (text, remedy) = hidden.problem(&problem.place, &problem.problem, &problem.remedy);
            Problem { problem: text, remedy, ..problem }
        };
        let all = |problems: Vec<Problem>| problems.into_iter().map(without).collect();
        match self {
            Self::Policy(problems) => Self::Policy(all(problems)),
            Self::Failure(Failure::Input(problems)) => Self::Failure(Failure::Input(all(problems))),
            Self::Failure(failure) => Self::Failure(failure),
        }
    }
}

impl From<Failure> for NotRendered {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Rendering {
    fn with_heads(&self, made_from: &str) -> Vec<(&'static str, String)> {
        // Each file gets the comment, because it may be read without the others.
        let mut head = format!(
            "{0} Made by `openclaw-trusted-proxy render` {1} from {made_from}.\n{0} To change the policy, edit the source, and render again with the same options.\n",
            self.comment,
            env!("CARGO_PKG_VERSION")
        );
        if !self.todo.is_empty() {
            head.push_str(&format!("{} What remains to be done:\n", self.comment));
            for todo in &self.todo {
                head.push_str(&format!("{} - {}\n", self.comment, visible(todo)));
            }
        }
        self.files.iter().map(|file| (file.name, format!("{head}\n{}", file.text))).collect()
    }
}

/// Writes each file atomically: Envoy notices when a file is renamed into the folder that it watches.
fn write(folder: &Path, files: &[(&'static str, String)], force: bool) -> Result<(), Failure> {
    let problem = |path: &Path, error: &io::Error| {
        Failure::new(
            path.display().to_string(),
            format!("cannot be written: {error}"),
            "check the folder and its permissions",
        )
    };
    for (name, text) in files {
        let file = folder.join(name);
        if !force && fs::read(&file).is_ok_and(|is| is != text.as_bytes()) {
            let place = file.display().to_string();
            return Err(Failure::new(place, "already exists, and differs", "add --force to replace it"));
        }
    }
    for (name, text) in files {
        let file = folder.join(name);
        let parent = file.parent().unwrap_or(folder);
        let new = folder.join(format!(".{}.new", name.replace('/', "-")));
        fs::create_dir_all(parent).map_err(|error| problem(parent, &error))?;
        fs::write(&new, text).map_err(|error| problem(&new, &error))?;
        fs::rename(&new, &file).map_err(|error| problem(&file, &error))?;
    }
    Ok(())
}

/// `IP:port`.
fn socket(argument: &str, text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| {
        Failure::new(
            argument,
            format!("{text:?} is not in the form IP:PORT"),
            "use, for example, 0.0.0.0:8080 or [::]:8080",
        )
    })
}

/// An IP address.
fn address(argument: &str, text: &str) -> Result<IpAddr, Failure> {
    text.parse()
        .map_err(|_| Failure::new(argument, format!("{text:?} is not an IP address"), "use, for example, 10.0.0.2"))
}
