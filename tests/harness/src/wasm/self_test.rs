//! Tests of the host itself, with modules so small that the module cannot be at fault.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::vectors::Outcome;

/// A module that runs `on_request` for each stream, and does nothing else.
fn module(imports: &str, on_request: &str) -> Host {
    let engine = engine();
    let text = format!(
        r#"(module
            (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_get_header_map_pairs" (func $map (param i32 i32 i32) (result i32)))
            (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
            {imports}
            (memory (export "memory") 1)
            (data (i32.const 0) "source\00addressX-Usernick")
            (global $next (mut i32) (i32.const 1024))
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32)
                global.get $next global.get $next local.get 0 i32.add global.set $next)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {on_request})
        )"#
    );
    let module = Module::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    Host::start(&engine, &module, &[])
}

/// The message with which a closure panics.
fn panic_of(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("it should have failed");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

fn request() -> Request {
    Request::get("/").header("a", "1").header("x-user", "eve").header("b", "2").header("x-user", "mallory")
}

#[test]
fn a_module_without_callbacks_lets_everything_through_as_it_came() {
    let mut host = module("", "(i32.const 0)");
    assert!(host.configure(b"{}"));
    let exchange = host.send(&request());
    assert_eq!(exchange.outcome(), Outcome::Admitted { upstream: request().headers });
    assert!(exchange.calls.is_empty());
    assert!(exchange.fuel > 0 && exchange.fuel < 100, "{}", exchange.fuel);
}

#[test]
fn whatever_ends_badly_fails_the_test_with_what_and_where() {
    let unknown = r#"(import "env" "proxy_surprise" (func $surprise))"#;
    let cases = [
        ("", "unreachable", "unreachable"),
        ("", "(loop $again (br $again)) (i32.const 0)", "fuel"),
        (unknown, "(call $surprise) (i32.const 0)", "proxy_surprise"),
        ("", "(call $map (i32.const 0) (i32.const -1) (i32.const 0))", "out of memory"),
        ("", "(call $remove (i32.const 0) (i32.const 65530) (i32.const 7))", "out of memory"),
        ("", "(i32.const 7)", "returned 7"),
    ];
    for (imports, on_request, wanted) in cases {
        let mut host = module(imports, on_request);
        host.in_case("the case");
        let panic = panic_of(|| drop(host.send(&request())));
        assert!(panic.contains(wanted) && panic.contains("the case"), "{on_request}: {panic}");
        assert!(panic.contains("proxy_on_request_headers"), "{on_request}: {panic}");
    }
}

#[test]
fn an_import_that_nobody_calls_does_no_harm() {
    let mut host = module(r#"(import "env" "proxy_surprise" (func $surprise))"#, "(i32.const 0)");
    assert_eq!(host.send(&request()).action, Action::Continue);
}

#[test]
fn replacing_leaves_one_copy_in_the_place_of_the_first_and_removing_takes_all() {
    let replace =
        "(drop (call $replace (i32.const 0) (i32.const 14) (i32.const 6) (i32.const 20) (i32.const 4))) (i32.const 0)";
    let remove = "(drop (call $remove (i32.const 0) (i32.const 14) (i32.const 6))) (i32.const 0)";
    for (work, wanted) in [(replace, "a=1 x-user=nick b=2"), (remove, "a=1 b=2")] {
        let exchange = module("", work).send(&request());
        let own = exchange.headers.iter().filter(|(name, _)| !name.starts_with(':'));
        let shown: Vec<_> = own.map(|(name, value)| format!("{name}={}", value.escape_ascii())).collect();
        assert_eq!(shown.join(" "), wanted);
        assert_eq!(exchange.calls.len(), 1);
        assert!(format!("{:?}", exchange.calls[0]).contains("\"X-User\""), "{:?}", exchange.calls[0]);
    }
}

#[test]
fn data_arrives_in_memory_that_the_module_allocated_and_nothing_is_a_null_pointer() {
    // Returns the status, or 1 if the pointer or the size are wrong.
    let property = |pointer: u32, size: u32| {
        format!(
            "(if (call $property (i32.const 0) (i32.const 14) (i32.const 512) (i32.const 516)) (then (return (i32.const 1))))
             (i32.or (i32.ne (i32.load (i32.const 512)) (i32.const {pointer})) (i32.ne (i32.load (i32.const 516)) (i32.const {size})))"
        )
    };
    let request = Request::get("/").peer("10.0.0.1:5");
    assert_eq!(module("", &property(1024, 10)).send(&request).action, Action::Continue);
    assert_eq!(module("", &property(0, 0)).send(&request.clone().peer("")).action, Action::Continue);
    assert_eq!(module("", &property(0, 0)).send(&request).action, Action::Pause);
    let absent = request.without_property(&["source", "address"]);
    let exchange = module("", &property(0, 0)).send(&absent);
    assert_eq!((exchange.action, exchange.calls[0].status), (Action::Pause, Status::NotFound));
}

#[test]
fn a_test_can_choose_the_status_of_any_call_or_of_the_nth() {
    let twice = "(drop (call $map (i32.const 0) (i32.const 512) (i32.const 516)))
                 (i32.ne (call $map (i32.const 0) (i32.const 512) (i32.const 516)) (i32.const 0))";
    let mut host = module("", twice);
    let statuses = |host: &mut Host| -> Vec<_> { host.send(&request()).calls.iter().map(|call| call.status).collect() };
    assert_eq!(statuses(&mut host), [Status::Ok, Status::Ok]);
    host.answer_nth("proxy_get_header_map_pairs", 2, Status::Empty);
    assert_eq!(statuses(&mut host), [Status::Ok, Status::Empty]);
    host.answer("proxy_get_header_map_pairs", Status::BadArgument);
    assert_eq!(statuses(&mut host), [Status::BadArgument, Status::BadArgument]);
    host.answer_honestly();
    assert_eq!(statuses(&mut host), [Status::Ok, Status::Ok]);
}

#[test]
fn header_maps_survive_the_border_and_nothing_else_passes_for_one() {
    let headers =
        vec![(":path".to_owned(), b"/".to_vec()), (String::new(), Vec::new()), ("x".to_owned(), vec![0, 255])];
    let map = serialize_map(&headers);
    assert_eq!(parse_map(&map), Some(headers));
    for length in 0..map.len() {
        assert_eq!(parse_map(&map[..length]), None, "{length}");
    }
    assert_eq!(parse_map(&[map.as_slice(), b"x"].concat()), None);
}
