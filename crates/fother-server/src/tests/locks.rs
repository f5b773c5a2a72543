//! Reboot locks over real HTTP: what the FleetLock protocol says, one budget, a client that never returns, a restart in between.

use super::door::{Running, start};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// Posts as Zincati does; status and body.
fn post(server: &Running, line: &str, header: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.locks).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

const HEADER: &str = "fleet-lock-protocol: true\r\n";

fn ask(server: &Running, verb: &str, id: &str, group: &str) -> (u16, String) {
    let body = format!("{{\"client_params\":{{\"id\":\"{id}\",\"group\":\"{group}\"}}}}");
    post(server, &format!("POST /v1/{verb}"), HEADER, &body)
}

fn kind(answer: &(u16, String)) -> (u16, String) {
    let body: serde_json::Value = serde_json::from_str(&answer.1).unwrap();
    assert!(body["value"].as_str().is_some_and(|value| !value.is_empty()), "{body}");
    (answer.0, body["kind"].as_str().unwrap().to_owned())
}

fn register(server: &Running, id: &str) {
    let body = format!("{{\"client\":\"{id}\",\"name\":\"core-{id}\",\"labels\":{{\"role\":\"web\",\"zone\":\"a\"}}}}");
    let (status, answer) = server.api("POST /api/v1/locks", &body);
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn the_protocol_is_what_clients_expect() {
    let server = start();
    register(&server, "a");
    let good = "{\"client_params\":{\"id\":\"a\",\"group\":\"web\"}}";
    let says = |status, word: &str| (status, word.to_owned());
    assert_eq!(kind(&post(&server, "POST /v1/pre-reboot", "", good)), says(400, "missing_header"));
    assert_eq!(kind(&post(&server, "POST /v1/pre-reboot", "fleet-lock-protocol: yes\r\n", good)), says(400, "missing_header"));
    assert_eq!(kind(&post(&server, "GET /v1/pre-reboot", HEADER, "")), says(405, "method_not_allowed"));
    assert_eq!(kind(&post(&server, "POST /v1/other", HEADER, good)), says(404, "not_found"));
    for bad in ["", "{}", "[]", "{\"client_params\":{\"id\":\"\",\"group\":\"web\"}}", "{\"client_params\":{\"id\":7,\"group\":\"web\"}}"] {
        assert_eq!(kind(&post(&server, "POST /v1/pre-reboot", HEADER, bad)), says(400, "invalid_request"), "{bad}");
    }
    assert_eq!(post(&server, "POST /v1/pre-reboot", HEADER, &"x".repeat(5 << 10)).0, 413);
    assert_eq!(kind(&ask(&server, "pre-reboot", "nobody", "web")), says(403, "unknown_client"));
    assert_eq!(kind(&ask(&server, "steady-state", "nobody", "web")), says(403, "unknown_client"));
    assert_eq!(kind(&ask(&server, "pre-reboot", "a", "db")), says(403, "not_in_group"));
    assert_eq!(ask(&server, "steady-state", "a", "web"), (200, String::new()), "at its start a client gives back what it may hold");
    assert_eq!(ask(&server, "pre-reboot", "a", "default"), (200, String::new()));
    assert_eq!(ask(&server, "pre-reboot", "a", "web"), (200, String::new()), "locks are recursive");
}

#[test]
fn a_client_that_never_returns_keeps_its_place_through_restarts_until_a_person_frees_it() {
    let mut server = start();
    for id in ["a", "b", "c", "d"] {
        register(&server, id);
    }
    assert!(["a", "b", "c"].iter().all(|id| ask(&server, "pre-reboot", id, "web").0 == 200), "the budget of web is 3");
    assert_eq!(kind(&ask(&server, "pre-reboot", "d", "web")), (409, "budget_full".to_owned()));
    server = server.restart();
    let full = ask(&server, "pre-reboot", "d", "web");
    assert!(full.0 == 409 && full.1.contains("core-a, core-b, core-c"), "{full:?}");
    assert_eq!(ask(&server, "pre-reboot", "a", "web").0, 200, "it still holds its own");
    assert_eq!(ask(&server, "steady-state", "b", "web").0, 200);
    assert_eq!(ask(&server, "pre-reboot", "d", "web").0, 200);
    let release =
        |id: &str, reason: &str| server.api(&format!("POST /api/v1/locks/{id}/release"), &format!("{{\"reason\":\"{reason}\"}}")).0;
    assert_eq!((release("a", ""), release("a", "its disk is gone"), release("a", "again")), (400, 200, 409));
    assert_eq!(ask(&server, "pre-reboot", "b", "web").0, 200);
    assert_eq!(server.api("POST /api/v1/locks/c/forget", r#"{"reason":"replaced"}"#).0, 200);
    assert_eq!(kind(&ask(&server, "steady-state", "c", "web")).0, 403);
    let (_, log) = server.api("GET /api/v1/log?from=0&max=100", "");
    let types: Vec<&str> = log["data"]["events"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    let count = |wanted: &str| types.iter().filter(|one| **one == wanted).count();
    assert_eq!((count("lock.registered"), count("lock.taken"), count("lock.released"), count("lock.forgotten")), (4, 5, 2, 1), "{types:?}");
}

#[test]
fn stop_all_holds_for_reboot_locks_too() {
    let server = start();
    register(&server, "a");
    assert_eq!(server.api("POST /api/v1/stop", r#"{"reason":"smoke"}"#).0, 200);
    let stopped = ask(&server, "pre-reboot", "a", "web");
    assert!(kind(&stopped) == (409, "stopped".to_owned()) && stopped.1.contains("smoke"), "{stopped:?}");
    assert_eq!(server.api("POST /api/v1/resume", "{}").0, 200);
    assert_eq!(ask(&server, "pre-reboot", "a", "web").0, 200);
}
