//! Request smuggling: two requests where one was seen.

use super::Family;
use crate::attack::suite::*;
use crate::attack::{frames, http3};

const USER_MISSING: &str = "trusted_proxy_user_missing";

/// A complete request, hidden in the body of another.
const HIDDEN: &str = "GET /tools/invoke HTTP/1.1\r\nhost: claw.example.com\r\nx-attack: 0000000000\r\nx-forwarded-for: 198.51.100.9\r\nx-forwarded-user: admin@example.com\r\n\r\n";

fn stop_stream() -> Expect {
    Expect::Stopped(0)
}

pub fn family() -> Family {
    let mut attacks = Vec::new();
    let post = || Request::honest().method("POST");
    let body = |length: usize| nick(WRITE).with(|passed| passed.body = Some(length));
    let stop = || Expect::Stopped(400);
    let chunked_hidden = format!("0\r\n\r\n{HIDDEN}");

    for (name, lines, tail, expect) in [
        // Both framings.
        (
            "CL.TE: a length and chunks, with a request behind the chunks",
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked_hidden.len()),
            chunked_hidden.clone(),
            stop(),
        ),
        (
            "TE.CL: chunks and a length, with a request in the chunk",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".to_owned(),
            format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
            stop(),
        ),
        (
            "CL.0: a length of nothing and a chunked body",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            stop(),
        ),
        // Unusual spellings of chunked.
        (
            "TE.TE: chunked and an unknown coding in a second header",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "TE.TE: an unknown coding, then chunked",
            "Transfer-Encoding: cow, chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "chunked twice",
            "Transfer-Encoding: chunked, chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "chunked, then identity",
            "Transfer-Encoding: chunked, identity\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "gzip, chunked",
            "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        ("xchunked", "Transfer-Encoding: xchunked\r\n".to_owned(), chunked_hidden.clone(), Expect::Stopped(501)),
        (
            "chunked in quotes",
            "Transfer-Encoding: \"chunked\"\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1\r\n".to_owned(),
            chunked_hidden.clone(),
            Expect::Stopped(501),
        ),
        (
            "chunked behind a vertical tab",
            "Transfer-Encoding: \u{b}chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            stop(),
        ),
        (
            "an empty transfer encoding and a length",
            "Transfer-Encoding:\r\nContent-Length: 5\r\n".to_owned(),
            "hello".to_owned(),
            stop(),
        ),
        (
            "a space before the colon of Transfer-Encoding",
            "Transfer-Encoding : chunked\r\n".to_owned(),
            chunked_hidden.clone(),
            stop(),
        ),
        (
            "Transfer_Encoding with an underscore, and a length",
            format!("Transfer_Encoding: chunked\r\nContent-Length: {}\r\n", chunked_hidden.len()),
            chunked_hidden.clone(),
            body(chunked_hidden.len()),
        ),
        // Lengths.
        (
            "two lengths that differ",
            format!("Content-Length: 0\r\nContent-Length: {}\r\n", HIDDEN.len()),
            HIDDEN.to_owned(),
            stop(),
        ),
        ("two lengths in one header", format!("Content-Length: 0, {}\r\n", HIDDEN.len()), HIDDEN.to_owned(), stop()),
        ("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a length with a sign", "Content-Length: +5\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a negative length", "Content-Length: -5\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a length in hexadecimal", "Content-Length: 0x5\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a length with an exponent", "Content-Length: 5e0\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a length with a space inside", "Content-Length: 0 5\r\n".to_owned(), "hello".to_owned(), stop()),
        ("a length beyond 64 bits", "Content-Length: 18446744073709551621\r\n".to_owned(), "hello".to_owned(), stop()),
        ("an empty length", "Content-Length:\r\n".to_owned(), HIDDEN.to_owned(), stop()),
        (
            "a request in the body, which stays a body",
            format!("Content-Length: {}\r\n", HIDDEN.len()),
            HIDDEN.to_owned(),
            body(HIDDEN.len()),
        ),
        (
            "a request in a chunk, which stays a body",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()),
            body(HIDDEN.len()),
        ),
        (
            "Chunked with a capital letter",
            "Transfer-Encoding: Chunked\r\n".to_owned(),
            "5\r\nhello\r\n0\r\n\r\n".to_owned(),
            body(5),
        ),
        // Chunks.
        (
            "a chunk extension",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "5;a=b\r\nhello\r\n0\r\n\r\n".to_owned(),
            body(5),
        ),
        (
            "a chunk extension in quotes that holds a line break",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n".to_owned(),
            Expect::CutOff(400),
        ),
        (
            "a chunk size in 0x notation",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "0x5\r\nhello\r\n0\r\n\r\n".to_owned(),
            Expect::CutOff(400),
        ),
        (
            "a chunk size beyond 64 bits",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "10000000000000005\r\nhello\r\n0\r\n\r\n".to_owned(),
            Expect::CutOff(400),
        ),
        (
            "a negative chunk size",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "-5\r\nhello\r\n0\r\n\r\n".to_owned(),
            Expect::CutOff(400),
        ),
        (
            "a chunk size with an underscore",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "0_5\r\nhello\r\n0\r\n\r\n".to_owned(),
            Expect::CutOff(400),
        ),
        (
            "a chunk that is longer than it says, whose rest Envoy drops",
            "Transfer-Encoding: chunked\r\n".to_owned(),
            "3\r\nhello\r\n0\r\n\r\n".to_owned(),
            body(3),
        ),
        // Line ends.
        ("a bare CR in a length", format!("Content-Length: {}\r0\r\n", HIDDEN.len()), HIDDEN.to_owned(), stop()),
        (
            "a bare CR in Transfer-Encoding, and a length that counts",
            format!("Transfer-Encoding: chun\rked\r\nContent-Length: {}\r\n", chunked_hidden.len()),
            chunked_hidden.clone(),
            stop(),
        ),
        (
            "a folded Transfer-Encoding and a length",
            format!("Transfer-Encoding:\r\n chunked\r\nContent-Length: {}\r\n", chunked_hidden.len()),
            chunked_hidden.clone(),
            stop(),
        ),
        (
            "a bare LF before Transfer-Encoding",
            format!("x-a: b\nTransfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked_hidden.len()),
            chunked_hidden.clone(),
            stop(),
        ),
    ] {
        let request = post().lines(lines).tail(tail);
        attacks.push(attack("raw", name, h1(request, expect)));
    }

    // One connection, what follows the first request, and who answers.
    let after =
        |first: Request, expect: Vec<Expect>| h1_bytes([first.http1(), HIDDEN.as_bytes().to_vec()].concat(), expect);
    for (name, mode, shot) in [
        (
            "a refused upload whose body is a request",
            "raw",
            h1_bytes(
                Request::proxied()
                    .method("POST")
                    .lines(format!("Content-Length: {}\r\n", HIDDEN.len()))
                    .tail(HIDDEN)
                    .http1(),
                vec![refused(USER_MISSING), Expect::End],
            ),
        ),
        (
            "a refused upload in chunks whose chunk is a request",
            "raw",
            h1_bytes(
                Request::proxied()
                    .method("POST")
                    .lines("Transfer-Encoding: chunked\r\n")
                    .tail(format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()))
                    .http1(),
                vec![refused(USER_MISSING), Expect::End],
            ),
        ),
        (
            "a health check whose body is a request",
            "raw",
            h1_bytes(
                Request::proxied()
                    .target("/health")
                    .lines(format!("Content-Length: {}\r\n", HIDDEN.len()))
                    .tail(HIDDEN)
                    .http1(),
                vec![anonymous().with(|passed| passed.body = Some(HIDDEN.len()))],
            ),
        ),
        (
            "a request without a version, and one behind it",
            "raw",
            h1_bytes(
                [&harness::wire::proxy_line(PROXY)[..], b"GET /\r\n\r\n", HIDDEN.as_bytes()].concat(),
                vec![Expect::Stopped(426), Expect::End],
            ),
        ),
        (
            "Expect: 100-continue on a refused upload, whose body is a request",
            "raw",
            h1_bytes(
                Request::proxied()
                    .method("POST")
                    .header("expect", "100-continue")
                    .lines(format!("Content-Length: {}\r\n", HIDDEN.len()))
                    .tail(HIDDEN)
                    .http1(),
                vec![refused(USER_MISSING), Expect::End],
            ),
        ),
        (
            "a stranger's request with a bare LF at its end, and one behind it",
            "raw",
            h1_bytes(
                [
                    &harness::wire::proxy_line(STRANGER)[..],
                    b"GET / HTTP/1.1\nhost: a\nx-attack: 0000000000\n\n",
                    HIDDEN.as_bytes(),
                ]
                .concat(),
                vec![refused("trusted_proxy_untrusted_source"), refused("trusted_proxy_untrusted_source")],
            ),
        ),
        (
            "a bare CR in Transfer-Encoding: Envoy takes it for no coding, and what is behind for the next request",
            "raw",
            h1_bytes(
                post().lines("Transfer-Encoding: chun\rked\r\n").tail("5\r\nhello\r\n0\r\n\r\n").http1(),
                vec![nick(WRITE), stop(), Expect::End],
            ),
        ),
        (
            "a bad request, and a good one behind it",
            "raw",
            after(Request::honest().lines("bad line\r\n"), vec![stop(), Expect::End]),
        ),
    ] {
        attacks.push(attack(mode, name, shot));
    }

    // Request lines and versions.
    let raw = |line: &str, rest: &str| {
        [
            &harness::wire::proxy_line(PROXY)[..],
            line.as_bytes(),
            b"\r\nhost: claw.example.com\r\nx-attack: 0000000000\r\nx-forwarded-for: 198.51.100.9\r\n",
            rest.as_bytes(),
            b"\r\n",
        ]
        .concat()
    };
    let user = "x-forwarded-user: nick@example.com\r\n";
    for (name, mode, line, expect) in [
        ("HTTP/1.0", "raw", "GET / HTTP/1.0", Expect::Stopped(426)),
        ("HTTP/1.0 where it is taken", "HTTP/1.0", "GET / HTTP/1.0", nick(WRITE)),
        ("HTTP/1.2", "raw", "GET / HTTP/1.2", Expect::Stopped(426)),
        ("HTTP/2.0 in a line of HTTP/1.1", "raw", "GET / HTTP/2.0", Expect::Stopped(426)),
        ("http/1.1 in lower case", "raw", "GET / http/1.1", stop()),
        ("two spaces behind the method", "raw", "GET  / HTTP/1.1", nick(WRITE)),
        ("a tab behind the method", "raw", "GET\t/ HTTP/1.1", nick(WRITE)),
        ("a space inside the path", "raw", "GET / /health HTTP/1.1", stop()),
        ("a space in front of the method", "raw", " GET / HTTP/1.1", stop()),
        ("a method of punctuation", "raw", "G#T / HTTP/1.1", stop()),
        ("a NUL in the path", "raw", "GET /\0 HTTP/1.1", stop()),
        ("a bare CR behind the path, which Envoy takes for a space", "raw", "GET /\r HTTP/1.1", nick(WRITE)),
        ("a line of 61 KiB", "raw", &format!("GET /{} HTTP/1.1", "a".repeat(62_000)), Expect::Stopped(431)),
    ] {
        attacks.push(attack(mode, name, h1_bytes(raw(line, user), vec![expect])));
    }
    attacks.push(attack(
        "HTTP/1.0",
        "HTTP/1.0 with chunks, with a request behind them",
        h1_bytes(
            [
                raw("POST / HTTP/1.0", &format!("{user}transfer-encoding: chunked\r\n")),
                chunked_hidden.clone().into_bytes(),
            ]
            .concat(),
            vec![nick(WRITE), Expect::End],
        ),
    ));
    attacks.push(attack(
        "HTTP/1.0",
        "HTTP/1.0 without Host and without a user",
        h1_bytes(
            [
                &harness::wire::proxy_line(PROXY)[..],
                b"GET / HTTP/1.0\r\nx-attack: 0000000000\r\nx-forwarded-for: 198.51.100.9\r\n\r\n",
            ]
            .concat(),
            vec![refused(USER_MISSING)],
        ),
    ));

    // Hosts. The filter and the Gateway must see the same one.
    let host = |host: &str| Request::honest().host(host);
    for (name, request, expect) in [
        ("no Host", Request { host: None, ..Request::honest() }, stop()),
        ("an empty Host", host(""), nick(WRITE)),
        ("two Hosts", Request::honest().lines("Host: evil.example\r\n"), nick(WRITE)),
        ("a Host with a path", host("claw.example.com/health"), stop()),
        ("a Host with a user", host("evil.example@claw.example.com"), nick(WRITE)),
        ("a Host with a space", host("claw.example.com evil.example"), stop()),
        ("absolute form with another Host", Request::honest().target("http://evil.example/"), nick(WRITE)),
        (
            "absolute form that hides an own path",
            Request::honest().target("http://evil.example/tools/invoke"),
            nick(OWN),
        ),
        ("absolute form of another scheme", Request::honest().target("ftp://evil.example/tools/invoke"), stop()),
        ("absolute form without a path", Request::honest().target("http://evil.example"), nick(WRITE)),
        ("absolute form with a user", Request::honest().target("http://a:b@evil.example/"), nick(WRITE)),
    ] {
        attacks.push(attack("raw", name, h1(request, expect)));
    }

    // Trailers.
    let trailers =
        "5\r\nhello\r\n0\r\nx-forwarded-user: admin@example.com\r\nx-openclaw-scopes: operator.admin\r\n\r\n";
    let chunked = || post().lines("Transfer-Encoding: chunked\r\nTrailer: x-forwarded-user\r\n").tail(trailers);
    attacks.push(attack("raw", "identity and scopes in trailers, which Envoy drops", h1(chunked(), body(5))));
    let kept =
        body(5).with(|passed| passed.trailers = vec!["x-forwarded-user".to_owned(), "x-openclaw-scopes".to_owned()]);
    attacks.push(attack(
        "trailers",
        "identity and scopes in trailers where Envoy passes them: they stay trailers",
        h1(chunked(), kept),
    ));
    let nobody = Request::proxied().method("POST").lines("Transfer-Encoding: chunked\r\n").tail(trailers);
    attacks.push(attack("trailers", "a user in trailers alone", h1(nobody, refused(USER_MISSING))));

    // HTTP/2, where every part has a length, until it is converted to HTTP/1.1.
    let pseudo = |fields: &[(&str, &str)]| -> Vec<(Vec<u8>, Vec<u8>)> {
        let honest = [(TAG, UNTAGGED), ("x-forwarded-for", CLIENT), ("x-forwarded-user", NICK)];
        fields
            .iter()
            .chain(&honest)
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    };
    let base = [(":method", "GET"), (":scheme", "http"), (":authority", "claw.example.com")];
    let closed_stream = Expect::Stopped(0);
    let path = (":path", "/");
    for (name, fields, expect) in [
        (
            "a request line in :path",
            [&base[..], &[(":path", "/ HTTP/1.1\r\nx-forwarded-user: admin@example.com\r\nx-a: b")]].concat(),
            closed_stream.clone(),
        ),
        ("a space in :path", [&base[..], &[(":path", "/ /health")]].concat(), closed_stream.clone()),
        ("a tab in :path", [&base[..], &[(":path", "/\thealth")]].concat(), closed_stream.clone()),
        ("a NUL in :path", [&base[..], &[(":path", "/\0")]].concat(), closed_stream.clone()),
        ("an empty :path", [&base[..], &[(":path", "")]].concat(), closed_stream.clone()),
        ("no :path", base.to_vec(), closed_stream.clone()),
        ("two :path", [&base[..], &[(":path", "/health"), (":path", "/tools/invoke")]].concat(), closed_stream.clone()),
        ("a :path that is not a path", [&base[..], &[(":path", "tools/invoke")]].concat(), closed_stream.clone()),
        (
            "a :path in absolute form",
            [&base[..], &[(":path", "http://evil.example/health")]].concat(),
            closed_stream.clone(),
        ),
        (
            "a request line in :method",
            vec![(":method", "GET /health HTTP/1.1\r\nx-a: b"), (":scheme", "http"), (":authority", "a"), path],
            closed_stream.clone(),
        ),
        (
            "a space in :method",
            vec![(":method", "GET /health"), (":scheme", "http"), (":authority", "a"), path],
            closed_stream.clone(),
        ),
        ("two :method", [&base[..], &[path, (":method", "POST")]].concat(), closed_stream.clone()),
        (
            "a line break in :authority",
            vec![
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "a\r\nx-forwarded-user: admin@example.com"),
                path,
            ],
            closed_stream.clone(),
        ),
        (":authority and another Host", [&base[..], &[path, ("host", "evil.example")]].concat(), nick(WRITE)),
        (
            "Host without :authority",
            vec![(":method", "GET"), (":scheme", "http"), path, ("host", "claw.example.com")],
            nick(WRITE),
        ),
        ("two :authority", [&base[..], &[path, (":authority", "evil.example")]].concat(), closed_stream.clone()),
        ("an unknown pseudo header", [&base[..], &[path, (":user", ADMIN)]].concat(), closed_stream.clone()),
        ("a pseudo header of a response", [&base[..], &[path, (":status", "200")]].concat(), closed_stream.clone()),
        ("a pseudo header behind the others", [&base[..], &[("x-a", "b"), path]].concat(), closed_stream.clone()),
        (
            "a scheme of one's own",
            vec![(":method", "GET"), (":scheme", "https://evil.example/?"), (":authority", "a"), path],
            closed_stream.clone(),
        ),
        ("Transfer-Encoding", [&base[..], &[path, ("transfer-encoding", "chunked")]].concat(), closed_stream.clone()),
        ("TE that is not trailers", [&base[..], &[path, ("te", "chunked")]].concat(), closed_stream.clone()),
        ("Keep-Alive", [&base[..], &[path, ("keep-alive", "1")]].concat(), closed_stream.clone()),
        ("Upgrade", [&base[..], &[path, ("upgrade", "websocket")]].concat(), closed_stream.clone()),
        (
            "a :protocol without CONNECT",
            [&base[..], &[path, (":protocol", "websocket")]].concat(),
            closed_stream.clone(),
        ),
        (
            "a name that starts with a colon",
            [&base[..], &[path, (":x-forwarded-user", ADMIN)]].concat(),
            closed_stream.clone(),
        ),
    ] {
        let over_http2 = h2_fields(&harness::wire::proxy_line(PROXY), &pseudo(&fields), &[], expect.clone());
        let expect = match name {
            // Over HTTP/3 Envoy takes no Host.
            ":authority and another Host" | "Host without :authority" => closed_stream.clone(),
            // The scheme is read by nobody.
            "a scheme of one's own" => nick(WRITE),
            _ => expect,
        };
        let over_http3 = h3_fields(LOCAL_PROXY, pseudo(&fields), &[], true, expect);
        attacks.push(shots("raw", format!("{name} (HTTP/2, HTTP/3)"), vec![over_http2, over_http3]));
    }
    let sized = |length: &str| {
        let mut fields = pseudo(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), path]);
        fields.push((b"content-length".to_vec(), length.as_bytes().to_vec()));
        fields
    };
    let data = frames::data(1, HIDDEN.as_bytes(), true);
    for (name, length, expect) in [
        ("H2.CL: a length of nothing, and a request as data", "0", Expect::CutOff(0)),
        ("H2.CL: a length that is too long", "10000", Expect::CutOff(0)),
        ("H2.CL: two lengths in one", "0, 5", closed_stream.clone()),
        ("a request as data, which stays a body", &HIDDEN.len().to_string(), body(HIDDEN.len())),
    ] {
        let over_http2 = h2_fields(&harness::wire::proxy_line(PROXY), &sized(length), &data, expect.clone());
        let body = http3::data(HIDDEN.as_bytes());
        let over_http3 = h3_fields(LOCAL_PROXY, sized(length), &body, true, expect);
        attacks.push(shots("raw", format!("{name} (HTTP/2, HTTP/3)"), vec![over_http2, over_http3]));
    }
    // Frames and streams of HTTP/3 that are out of place.
    let honest = || http3::headers(&Request::honest().fields());
    let nobody = || http3::headers(&Request::proxied().fields());
    let unknown = http3::frame(0x21, b"x-forwarded-user: admin@example.com");
    for (name, bytes, expect) in [
        ("an unknown frame before the headers", [unknown.clone(), honest()].concat(), nick(WRITE)),
        ("an unknown frame behind the headers of nobody", [nobody(), unknown].concat(), refused(USER_MISSING)),
        ("data before the headers", [http3::data(b"hello"), honest()].concat(), stop_stream()),
        ("settings on the stream of a request", [http3::frame(4, &[]), honest()].concat(), stop_stream()),
        ("a push promise of a client", [http3::frame(5, &[0, 0, 0]), honest()].concat(), stop_stream()),
        ("a field that refers to an entry that does not exist", http3::frame(1, &[0, 0, 0xff, 0x40]), stop_stream()),
        ("a field whose length is beyond the frame", http3::frame(1, &[0, 0, 0x27, 0xff, 0xff, 0x7f]), stop_stream()),
        ("an empty block of fields", http3::frame(1, &[0, 0]), stop_stream()),
    ] {
        attacks.push(attack("raw", format!("{name} (HTTP/3)"), h3_bytes(bytes, expect)));
    }
    let trailers = http3::headers(&vec![(b"x-forwarded-user".to_vec(), ADMIN.into())]);
    let rest = [http3::data(b"hello"), trailers.clone()].concat();
    attacks.push(attack(
        "raw",
        "identity in trailers (HTTP/3)",
        h3_fields(
            LOCAL_PROXY,
            Request::honest().method("POST").fields(),
            &rest,
            true,
            body(5).with(|passed| passed.trailers = vec!["x-forwarded-user".to_owned()]),
        ),
    ));
    attacks.push(attack(
        "raw",
        "a user in trailers alone (HTTP/3)",
        h3_fields(LOCAL_PROXY, Request::proxied().method("POST").fields(), &rest, true, refused(USER_MISSING)),
    ));
    let crumbs = |request: Request| request.all(&[("cookie", "a=b"), ("cookie", "x-forwarded-user=admin@example.com")]);
    attacks.push(both(
        "raw",
        "cookies split over two fields, with a user, by nobody",
        crumbs(Request::proxied()),
        refused(USER_MISSING),
    ));
    attacks.push(both(
        "raw",
        "cookies split over two fields, with a user, by Nick",
        crumbs(Request::honest()),
        nick(WRITE),
    ));
    Family {
        name: "Request smuggling",
        about: "Two servers that disagree on where a request ends, or on what its line says. The upstream counts the requests that \
            arrive; the hidden one would be Admin's, on the Gateway's own `/tools/invoke`.",
        attacks,
    }
}
