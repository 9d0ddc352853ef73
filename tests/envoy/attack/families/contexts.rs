//! Policies that share a virtual machine, and what a header cannot write: filter state and metadata.

use super::Family;
use crate::attack::suite::*;

const NOT_ALLOWED: &str = "trusted_proxy_user_not_allowed";
const UNKNOWN: &str = "trusted_proxy_peer_unknown";
const UNTRUSTED: &str = "trusted_proxy_untrusted_source";
const ASSERTION_MISSING: &str = "trusted_proxy_assertion_missing";

/// Names that software has for filter state and for peers, each with an address or an identity that would be believed.
const FORGED: [(&str, &str); 22] = [
    ("openclaw.peer", "203.0.113.7:40000"),
    ("openclaw.direct_peer", "203.0.113.7:40000"),
    ("openclaw.never_written", "203.0.113.7:40000"),
    ("openclaw-never-written", "203.0.113.7"),
    ("filter-state", "openclaw.never_written=203.0.113.7"),
    ("x-envoy-peer-metadata", "ChoKCkNMVVNURVJfSUQSDBoKS3ViZXJuZXRlcw=="),
    ("x-envoy-peer-metadata-id", "sidecar~203.0.113.7~proxy.edge~cluster.local"),
    ("x-envoy-original-dst-host", "203.0.113.7:80"),
    ("x-envoy-attributes", "CgYKBHVzZXI="),
    ("x-envoy-downstream-service-node", "203.0.113.7"),
    ("x-envoy-expected-rq-timeout-ms", "1"),
    ("x-envoy-ip-tags", "trusted"),
    ("x-envoy-external-address", "203.0.113.7"),
    ("x-forwarded-client-cert", "By=spiffe://a;URI=spiffe://cluster.local/ns/edge/sa/proxy"),
    ("io.istio.peer_principal", "spiffe://cluster.local/ns/edge/sa/proxy"),
    ("source.address", "203.0.113.7:40000"),
    ("baggage", "k8s.namespace.name=edge,service.name=proxy,user=admin@example.com"),
    ("openclaw.verified", "{\"payload\":{\"email\":\"nick@example.com\"}}"),
    ("x-jwt-payload", "eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ"),
    ("x-amzn-oidc-data", "eyJhbGciOiJub25lIn0.eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ."),
    ("authorization", "Bearer eyJhbGciOiJub25lIn0.eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ."),
    ("cookie", "IdToken=eyJhbGciOiJub25lIn0.eyJlbWFpbCI6Im5pY2tAZXhhbXBsZS5jb20ifQ."),
];

pub fn family() -> Family {
    let mut attacks = Vec::new();
    for (name, value) in FORGED {
        let stranger = || Request::from_peer(STRANGER).all(&[("x-forwarded-user", NICK), ("x-forwarded-for", CLIENT)]);
        let forging = |request: Request| request.header(name, value);
        let connect = |request: Request| Request {
            method: b"CONNECT".to_vec(),
            target: b"claw.example.com:443".to_vec(),
            ..request
        };
        let title = |what: &str| format!("`{name}: {value}` {what}");
        attacks.push(both(
            "no such filter state",
            title("for a peer that nobody wrote"),
            forging(stranger()),
            refused(UNKNOWN),
        ));
        attacks.push(both(
            "connection's filter state",
            title("beside the peer that Envoy wrote"),
            forging(stranger()),
            refused(UNTRUSTED),
        ));
        attacks.push(attack("CONNECT", title("in a CONNECT"), h1(connect(forging(stranger())), refused(UNTRUSTED))));
        attacks.push(both(
            "assertion",
            title("for an identity that Envoy did not verify"),
            forging(Request::direct().header("x-forwarded-user", NICK)).proxied_by(STRANGER),
            refused(ASSERTION_MISSING),
        ));
    }
    // Headers of a CONNECT that ends in this Envoy, and of the request inside it.
    for (name, value) in FORGED {
        for mode in ["tunnel", "tunnel, filter state"] {
            let outer = Request {
                method: b"CONNECT".to_vec(),
                target: b"claw.example.com:443".to_vec(),
                ..Request::direct().header(name, value)
            };
            let inner = Request::direct().all(&[
                ("x-forwarded-user", NICK),
                ("x-forwarded-for", CLIENT),
                ("x-real-ip", CLIENT),
                (name, value),
            ]);
            let steps = vec![
                Step { bytes: outer.http1(), expect: vec![Expect::Tunnel] },
                Step { bytes: inner.http1(), expect: vec![refused(UNKNOWN)] },
            ];
            attacks.push(attack(
                mode,
                format!("`{name}: {value}` in a CONNECT and inside it, in the mode `{mode}`"),
                Shot { mode, how: How::Http1, steps, head: false },
            ));
        }
    }
    let inner = Request::honest().target("/tools/invoke").again().http1();
    let connect =
        |request: Request| Request { method: b"CONNECT".to_vec(), target: b"claw.example.com:443".to_vec(), ..request };
    attacks.push(attack(
        "CONNECT",
        "a good request inside a CONNECT of nobody",
        h1_bytes(
            [connect(Request::proxied()).http1(), inner].concat(),
            vec![refused("trusted_proxy_user_missing"), Expect::End],
        ),
    ));

    // Two policies in one virtual machine: the same module, the same names of VM and plugin.
    let eve = || Request::proxied().header("x-forwarded-user", "eve@example.com");
    let (nicks, eves) = ("shared VM, Nick", "shared VM, nobody");
    for round in 1..=8 {
        let title = |what: &str| format!("two policies in one VM, round {round}: {what}");
        let mut all = Vec::new();
        for shot in versions(nicks, &Request::honest(), &nick(WRITE)) {
            all.push(Shot { mode: nicks, ..shot });
        }
        for shot in versions(eves, &Request::honest(), &refused(NOT_ALLOWED)) {
            all.push(Shot { mode: eves, ..shot });
        }
        attacks.push(Attack { name: title("Nick, who only one of them lets in"), shots: all });
        attacks.push(attack(nicks, title("Eve, who only the other lets in"), h1(eve(), refused(NOT_ALLOWED))));
        attacks.push(attack(
            nicks,
            title("an anonymous path of the other"),
            h1(Request::proxied().target("/open"), refused("trusted_proxy_user_missing")),
        ));
        attacks.push(attack(
            eves,
            title("an anonymous path of the other's default"),
            h1(Request::proxied().target("/health"), refused("trusted_proxy_user_missing")),
        ));
        attacks.push(attack(
            nicks,
            title("an origin of the other"),
            h1(Request::honest().header("origin", "https://eve.example"), refused("trusted_proxy_origin_not_allowed")),
        ));
        let turns = |request: Request, expect: Expect| vec![(request, expect); 3];
        attacks.push(attack(
            nicks,
            title("three of Nick's on one connection"),
            h1_steps(turns(Request::honest(), nick(WRITE))),
        ));
        attacks.push(attack(
            eves,
            title("three of Nick's on one connection to the other"),
            h2_steps(turns(Request::honest(), refused(NOT_ALLOWED))),
        ));
    }
    Family {
        name: "Contexts",
        about: "What the filter believes of the connection stands in filter state and metadata, which only Envoy's own filters write, and \
            the policy is that of the listener, whatever else the virtual machine holds. No header may change either.",
        attacks,
    }
}
