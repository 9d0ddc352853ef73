//! A host of the component: compiles a policy, and decides a request.
//!
//! usage: cargo run --example host -- COMPONENT POLICY PEER [NAME: VALUE]…

use std::fs;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};

/// The bindings that wasmtime generates.
#[allow(missing_docs, clippy::all, clippy::restriction)]
pub mod bindings {
    wasmtime::component::bindgen!({ world: "trusted-proxy", path: "wit" });
}

use bindings::TrustedProxy;
use bindings::exports::openclaw::trusted_proxy::gate::{Edit, Header, Request, Verdict};

type Problem = Box<dyn std::error::Error>;

#[allow(dead_code, reason = "a test uses `run` alone")]
fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [component, policy, peer, headers @ ..] = arguments.as_slice() else {
        return Err("usage: host COMPONENT POLICY PEER [NAME: VALUE]…".into());
    };
    let headers: Option<Vec<_>> = headers.iter().map(|header| header.split_once(':')).collect();
    let headers = headers.ok_or("a header is written `name: value`")?;
    let component = Component::new(&Engine::default(), fs::read(component)?)?;
    println!("{}", run(&component, &fs::read(policy)?, peer, &headers)?);
    Ok(())
}

/// Decides a GET of `/` with these headers from `peer`, and describes the verdict.
pub fn run(component: &Component, policy: &[u8], peer: &str, headers: &[(&str, &str)]) -> Result<String, Problem> {
    let mut store = Store::new(component.engine(), ());
    // The component imports nothing, so there is nothing to link.
    let instance = TrustedProxy::instantiate(&mut store, component, &Linker::new(component.engine()))?;
    let gate = instance.openclaw_trusted_proxy_gate();

    let policy = match gate.call_compile(&mut store, policy)? {
        Ok(policy) => policy,
        Err(problems) => {
            let lines = problems.iter().map(|one| format!("{}: {}; {}", one.path, one.problem, one.remedy));
            return Err(lines.collect::<Vec<_>>().join("\n").into());
        }
    };
    let header = |(name, value): &(&str, &str)| Header { name: (*name).to_owned(), value: value.trim().into() };
    let request = Request {
        peer: peer.to_owned(),
        destination: None,
        certificate: None,
        assertion: None,
        true_claims: Vec::new(),
        filter_states: Vec::new(),
        method: "GET".to_owned(),
        target: "/".to_owned(),
        authority: Some("claw.example.com".to_owned()),
        headers: headers.iter().map(header).collect(),
    };
    let verdict = gate.policy().call_decide(&mut store, policy, &request)?;
    policy.resource_drop(&mut store)?;
    Ok(match verdict {
        Ok(Verdict::Pass(permit)) => {
            let edit = |edit: &Edit| match edit {
                Edit::Set(Header { name, value }) => format!("\n  {name}: {}", String::from_utf8_lossy(value)),
                Edit::Remove(name) => format!("\n  no {name}"),
            };
            format!("passes, with{}", permit.edits.iter().map(edit).collect::<String>())
        }
        Ok(Verdict::Refuse(refusal)) => format!("refused with {}: {}", refusal.response.status, refusal.code),
        Ok(Verdict::WouldRefuse(refusal)) => format!("passes untouched; enforcing would say {}", refusal.code),
        Err(problem) => format!("no request: {problem}"),
    })
}
