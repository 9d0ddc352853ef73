//! A bootstrap like `envoy/envoy.yaml` with one listener, and the file that it reads by ECDS.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::closed::{Closed, Front, close};
use super::policy::Plugin;
use super::template::Template;
use super::yaml::{indented, member, quoted};
use super::{NotRendered, Proxies, Rendered, Rendering, Source, socket};
use crate::input::Input;
use crate::output::{Failure, plain_json};
use crate::record::{self, Inputs};

const BOOTSTRAP: &str = include_str!("../../../envoy/envoy.yaml");
const FILTER: &str = include_str!("../../../envoy/filter.yaml");
/// The filter state of `--peer filter-state`, if the policy names none.
const PEER: &str = "openclaw.peer";
/// The start of the connection manager in a filter chain.
const MANAGER: &str = "            - name: envoy.filters.network.http_connection_manager\n";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    pub(super) proxies: Proxies,
    /// The address on which Envoy listens
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:10000")]
    listen: String,
    /// The address of the Gateway
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:18789")]
    upstream: String,
    /// The address of Envoy's administration interface
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9901")]
    admin: String,
    /// The file with the filter's module
    #[arg(long, value_name = "PATH", default_value = "/etc/envoy/openclaw-trusted-proxy.wasm")]
    module: PathBuf,
    /// The folder where Envoy finds these files [default: the folder of --out, or /etc/envoy]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The certificate for TLS
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,
    /// Strict-Transport-Security, in seconds: start with 300; use 31536000 (a year) once all works
    #[arg(long, value_name = "SECONDS", requires = "cert")]
    hsts: Option<u32>,
    /// Where the peer's address comes from
    #[arg(long, value_enum, default_value_t, value_name = "FROM")]
    peer: PeerFrom,
    /// What Envoy does with X-Forwarded-For [default: keep behind a proxy, which must write it itself; append at the
    /// edge]
    #[arg(long, value_enum, value_name = "DO")]
    xff: Option<Forwarded>,
    /// Log what `replay` needs
    #[arg(long)]
    record: bool,
    /// Also log what `replay --against` this configuration needs; may be repeated
    #[arg(long, value_name = "FILE", requires = "record")]
    record_for: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum PeerFrom {
    /// The connection
    #[default]
    Connection,
    /// The PROXY protocol line that every connection must start with
    ProxyProtocol,
    /// A filter state, written before any header is read; X-Forwarded-For is not changed
    FilterState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Forwarded {
    /// Envoy adds its peer
    Append,
    /// Envoy passes it on unchanged
    Keep,
}

/// Renders both files.
pub fn render(args: &Args, mut plugin: Plugin) -> Result<Rendering, NotRendered> {
    let mut todo = Vec::new();
    plugin.add_proxies(&args.proxies.addresses(), &mut todo);
    todo.append(&mut plugin.todo);
    let state = plugin.filter.get("peerAddress").and_then(|peer| peer.get("filterState")).and_then(Value::as_str);
    let state = state.unwrap_or(PEER).to_owned();
    plugin.set(
        "peerAddress",
        if args.peer == PeerFrom::FilterState { json!({"filterState": state}) } else { json!("connection") },
    );
    let front = if plugin.has("edge", true) { Front::Clients } else { Front::Proxy };
    let closed = close(&mut plugin, front, args.proxies.user_header.as_deref(), &mut todo)?;
    plugin.refuse_cross_site();
    let policy = plugin.policy()?;
    let mut inputs = vec![Inputs::of(&plugin.json(), &policy)];
    let mut others = Vec::new();
    for file in &args.record_for {
        let other = Plugin::read(Input { file: file.clone(), ..Input::default() }.read()?, |_, _| {})
            .map_err(NotRendered::Policy)?;
        let policy = other.policy().map_err(|reason| reason.without_values(&other.hidden))?;
        inputs.push(Inputs::of(&other.json(), &policy));
        others.push(other.hidden);
    }

    let folder = match (&args.folder, &args.source.out) {
        (Some(folder), _) => folder.clone(),
        (None, Some(out)) => std::path::absolute(out).unwrap_or_else(|_| out.clone()),
        (None, None) => PathBuf::from("/etc/envoy"),
    };
    let record = args.record.then_some(inputs.as_slice());
    let bootstrap =
        bootstrap(args, &folder, &state, (front, &closed), record, plugin.header_with_underscores().as_deref())
            .map_err(|failure| others.iter().fold(failure.into(), NotRendered::without_values))?;
    let mut filter = Template::new("envoy/filter.yaml", FILTER);
    filter.replace_lines("# The filter and its policy", "resources:", HEAD_OF_FILTER)?;
    filter.replace("dist/openclaw-trusted-proxy.wasm", &quoted(&args.module.to_string_lossy()))?;
    let mut filter = filter.into_text();
    filter.push_str(&indented(&plain_json(&format!("{:#}", plugin.json())), 12));

    if args.cert.is_none() {
        todo.push(
            "this listener accepts plain HTTP: terminate TLS at the proxy in front of it, or add --cert and --key"
                .to_owned(),
        );
    } else if args.hsts.is_none() {
        todo.push("add --hsts 300 once HTTPS works, and raise it later".to_owned());
    }
    if plugin.has("edge", true) {
        todo.push(
            "put the login (jwt_authn, oauth2) before the filter in http_filters (docs/gateway.md, placement A)"
                .to_owned(),
        );
    }
    if plugin.filter.contains_key("trustedPeers") {
        todo.push("have the listener verify client certificates (require_client_certificate, trusted_ca)".to_owned());
    }
    if args.peer == PeerFrom::ProxyProtocol {
        todo.push(
            "allow only the load balancer to reach this port: anyone who reaches it can claim any address".to_owned(),
        );
    }
    todo.push(format!("put the filter's module at {}", args.module.display()));
    Ok(Rendering {
        files: vec![
            Rendered { name: "envoy.yaml", text: bootstrap },
            Rendered { name: "policy/filter.yaml", text: filter },
        ],
        todo,
        comment: "#",
    })
}

const HEAD_OF_FILTER: &str = "\
# The filter and its policy, which Envoy reads by ECDS. Replace this file with `mv`: Envoy watches for renames. If the
# filter rejects a new policy, Envoy keeps the old one, logs the reason, and counts it in
# extension_config_discovery.http_filter.openclaw_trusted_proxy.update_rejected. At its first start Envoy has no old
# policy, and answers every request with 500.
";

const HEAD_OF_BOOTSTRAP: &str = "\
# Envoy in front of an OpenClaw Gateway, with the filter that admits or refuses requests: `envoy -c envoy.yaml`.
#
# The policy is in a file of its own, which Envoy reads by ECDS. A change applies to the next request, also on
# connections that are already open. Open WebSockets are decided again by it.

";

fn bootstrap(
    args: &Args,
    folder: &Path,
    state: &str,
    (front, closed): (Front, &Closed),
    record: Option<&[Inputs]>,
    header_with_underscores: Option<&str>,
) -> Result<String, Failure> {
    let (listen, admin) = (socket("--listen", &args.listen)?, socket("--admin", &args.admin)?);
    let (host, port) = upstream(&args.upstream)?;
    let place = |ip: &str, port: u16| format!("{{ address: {ip}, port_value: {port} }}");
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let mut file = Template::new("envoy/envoy.yaml", BOOTSTRAP);
    let with_tls = Tls::of(&file)?;

    file.replace_lines(
        "# Envoy in front of an OpenClaw Gateway",
        "# Whoever reaches the administration",
        HEAD_OF_BOOTSTRAP,
    )?;
    file.replace_lines("    # The same with TLS.", "  clusters:", "")?;
    // Anchors that the second listener used.
    for name in ["closed", "internal", "limits", "upgrades", "access_log", "filters", "virtual_hosts"] {
        file.replace(&format!(": &{name}\n"), ":\n")?;
    }
    file.replace_lines(
        "      # Only this machine. Listen on",
        "      address:",
        "      # The policy lists the proxies that may connect here.\n",
    )?;
    file.replace(&place("127.0.0.1", 10000), &place(&quoted(&listen.ip().to_string()), listen.port()))?;
    file.replace(&place("127.0.0.1", 9901), &place(&quoted(&admin.ip().to_string()), admin.port()))?;
    file.replace(&place("127.0.0.1", 18789), &place(&quoted(host), port))?;
    let policy = folder.join("policy");
    file.replace(".run/policy/filter.yaml", &path(&policy.join("filter.yaml")))?;
    file.replace(".run/policy }", &format!("{} }}", path(&policy)))?;

    // The order matters: each step looks for lines that the steps before it must leave unchanged.
    match args.peer {
        PeerFrom::Connection => {}
        PeerFrom::ProxyProtocol => file.insert_before("      filter_chains:", PROXY_PROTOCOL)?,
        PeerFrom::FilterState => write_peer_into_state(&mut file, state)?,
    }
    let by_front = if front == Front::Clients { Forwarded::Append } else { Forwarded::Keep };
    if args.xff.unwrap_or(by_front) == Forwarded::Append && args.peer != PeerFrom::FilterState {
        file.replace_lines(
            "                # The identity proxy in front writes",
            "                # Closed without the filter.",
            "                # Envoy adds the peer to X-Forwarded-For.\n",
        )?;
    }
    remove_early(&mut file, front, closed)?;
    if let Some(header) = header_with_underscores {
        allow_underscores(&mut file, header)?;
    }
    if let Some(inputs) = record {
        add_recorder(&mut file, inputs)?;
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        with_tls.add(&mut file, &path(cert), &path(key), args.hsts)?;
    }
    Ok(file.into_text())
}

/// Lets headers with underscores through, for one that the policy reads.
fn allow_underscores(file: &mut Template, header: &str) -> Result<(), Failure> {
    file.replace_lines(
        "                # x_forwarded_user must never be mistaken",
        "                common_http_protocol_options:",
        &format!(
            "                # The policy reads {header}. The filter removes other spellings of it, and of all other headers\n                # that name a user, so that none is mistaken for another.\n"
        ),
    )?;
    file.replace("headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW")
}

/// The headers that Envoy removes before any filter runs, and the one that the access log shows for admitted requests.
fn remove_early(file: &mut Template, front: Front, closed: &Closed) -> Result<(), Failure> {
    let user = &closed.user;
    // A quote would end the text in the access log's format, and a percent sign the format.
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Failure::new(
            "filter.upstreamUserHeader",
            format!("{user:?} cannot be logged: some of its characters have a special meaning in Envoy's formats"),
            "use a name of letters, digits and hyphens",
        ));
    }
    file.replace_all(r#"request.headers["x-openclaw-user"]"#, &format!("request.headers[\"{user}\"]"))?;
    file.replace("[{ remove: x-openclaw-user }]", &closed.mutations())?;
    let others = if front == Front::Clients {
        "\n                # No client has a reason to send scopes or groups."
    } else {
        ""
    };
    file.replace_lines(
        "                # Closed without the filter.",
        "                early_header_mutation_extensions:",
        &format!(
            "                # Closed without the filter: the Gateway reads the user from {user}, which only the
                # filter writes. If the filter is deleted, or switched off for a route, no request has a user, and the
                # Gateway refuses it. Any other listener that leads to the Gateway needs this too.{others}\n"
        ),
    )
}

const PROXY_PROTOCOL: &str = "\x20     # Every connection starts with a PROXY line. The address in it is the peer.
      listener_filters:
        - name: envoy.filters.listener.proxy_protocol
          typed_config:
            \"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
";

/// Stores the peer before any header is read, so that Envoy's own idea of the peer does not matter.
fn write_peer_into_state(file: &mut Template, state: &str) -> Result<(), Failure> {
    file.replace_lines(
        "                # The peer is whoever opened the connection",
        "                # Closed without the filter.",
        "                # X-Forwarded-For is passed on unchanged, and Envoy trusts it. The filter does not: it reads the filter\n                # state above.\n                use_remote_address: false\n",
    )?;
    file.insert_before(
        MANAGER.trim_end(),
        &format!(
            "\x20           # The peer is the address that opened the connection. It is stored where no header can change it, under the
            # key that `peerAddress` names.
            - name: envoy.filters.network.set_filter_state
              typed_config:
                \"@type\": type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config
                on_new_connection:
                  - object_key: {}
                    factory_key: envoy.string
                    format_string:
                      text_format_source: {{ inline_string: \"%DOWNSTREAM_REMOTE_ADDRESS%\" }}
",
            quoted(state)
        ),
    )
}

/// The parts of the listener `https` that differ from plain HTTP.
struct Tls {
    socket: String,
    http2: String,
    hsts: String,
}

impl Tls {
    fn of(file: &Template) -> Result<Self, Failure> {
        Ok(Self {
            socket: file.cut("        - transport_socket:", "          filters:\n")?,
            http2: file
                .cut("                  # Differs: a browser would open", "                  max_concurrent_streams")?,
            hsts: file.cut("                  response_headers_to_add:", "                  virtual_hosts:")?,
        })
    }

    fn add(self, file: &mut Template, cert: &str, key: &str, hsts: Option<u32>) -> Result<(), Failure> {
        let mut socket = Template::new("envoy/envoy.yaml", &self.socket);
        socket.replace(".run/tls/cert.pem", cert)?;
        socket.replace(".run/tls/key.pem", key)?;
        file.replace("    - name: http\n", "    - name: https\n")?;
        file.replace("                stat_prefix: http\n", "                stat_prefix: https\n")?;
        file.replace("        - filters:\n", &(socket.into_text() + "          filters:\n"))?;
        file.replace_lines(
            "                  # WebSockets over HTTP/2, for a proxy",
            "                  max_concurrent_streams",
            &self.http2.replace("# Differs: a browser", "# A browser"),
        )?;
        file.replace("                  name: http\n", "                  name: https\n")?;
        if let Some(seconds) = hsts {
            let header = self.hsts.replace("max-age=300", &format!("max-age={seconds}"));
            let why = "                  # After one visit, browsers use only HTTPS here. Add includeSubDomains only if every subdomain uses\n                  # HTTPS.\n";
            file.insert_before("                  virtual_hosts:", &format!("{why}{header}"))?;
        }
        Ok(())
    }
}

/// Stores what the filter is about to see, and logs it.
fn add_recorder(file: &mut Template, inputs: &[Inputs]) -> Result<(), Failure> {
    let format = record::format(inputs).map_err(|(place, name)| {
        Failure::new(
            place,
            format!("{name:?} cannot be recorded: some of its characters have a special meaning in Envoy's formats"),
            "remove --record, or use a name of letters, digits and hyphens",
        )
    })?;
    let fields: String = format.iter().map(|(name, value)| member(name, value, 30)).collect();
    file.insert_before(
        "                  - name: openclaw_trusted_proxy\n".trim_end(),
        &format!(
            "\x20                 # What the filter is about to see, for the access log and `openclaw-trusted-proxy replay`. This must
                  # come right before the filter. For a required header it stores only whether the header is present,
                  # because its value may be a secret.
                  - name: openclaw_recorder
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
                      on_request_headers:
                        - object_key: {}
                          factory_key: envoy.string
                          format_string:
                            json_format:
{fields}",
            record::STATE
        ),
    )?;
    file.insert_before(
        "                          peer: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%\"",
        &format!("                          {}: \"%FILTER_STATE({}:PLAIN)%\"\n", record::KEY, record::STATE),
    )
}

/// `host:port`, with an IPv6 address in brackets.
fn upstream(text: &str) -> Result<(&str, u16), Failure> {
    let failure = || {
        Failure::new(
            "--upstream",
            format!("{text:?} is not in the form HOST:PORT"),
            "use, for example, 127.0.0.1:18789, gateway:18789 or [::1]:18789",
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(failure)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(failure)?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
        None if !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) => {
            host
        }
        _ => return Err(failure()),
    };
    Ok((host, port))
}
