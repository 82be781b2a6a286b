//! Paths, methods, prefixes and compression.

use crate::support::{TestServer, one_line, request};

#[tokio::test]
async fn unknown_paths_are_404() {
    let server = TestServer::bare().await;
    for path in ["/nope", "/loki", "/loki/api/v1/", "/loki/api/v1/push/", "/favicon.ico"] {
        let answer = server.ask("GET", path).await;
        assert_eq!(answer.outcome(), (404, "404 page not found\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_405_without_a_body() {
    let server = TestServer::bare().await;
    for (method, path) in [
        ("PUT", "/loki/api/v1/push"),
        ("GET", "/loki/api/v1/push"),
        ("POST", "/ready"),
        ("HEAD", "/ready"),
        ("OPTIONS", "/log_level"),
        ("PATCH", "/flush"),
    ] {
        assert_eq!(server.ask(method, path).await.outcome(), (405, String::new()), "{method} {path}");
    }
}

#[tokio::test]
async fn unclean_paths_are_redirected() {
    let server = TestServer::bare().await;
    for (path, location) in [("//ready", "/ready"), ("/loki/api/v1/../v1/labels?x=1", "/loki/api/v1/labels?x=1")] {
        let answer = server.ask("GET", path).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (301, location), "{path}");
    }
}

#[tokio::test]
async fn a_path_prefix_is_in_front_of_every_route() {
    let server = TestServer::configured("auth_enabled: false\nserver: {http_path_prefix: /base/}\n").await;
    assert_eq!(server.ask("GET", "/base/ready").await.status, 200);
    assert_eq!(server.ask("GET", "/ready").await.status, 404);
    let body = one_line(&server, "a", "x");
    let push = request("POST", "/base/loki/api/v1/push", &[("content-type", "application/json")], body);
    assert_eq!(server.send(push).await.status, 204);
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let server = TestServer::bare().await;
    let plain = server.ask("GET", "/config").await;
    assert_eq!(plain.header("content-encoding"), "");
    let zipped = server.send(request("GET", "/config", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(zipped.header("content-encoding"), "gzip");
    assert_eq!(zipped.header("vary"), "Accept-Encoding");
    let mut content = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*zipped.body), &mut content).expect("gzip");
    assert_eq!(content, plain.text());
    let small = server.send(request("GET", "/ready", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(small.outcome(), (200, "ready\n".to_owned()));
}

#[tokio::test]
async fn compression_can_be_switched_off() {
    let server = TestServer::configured("frontend: {compress_responses: false}\n").await;
    let answer = server.send(request("GET", "/config", &[("accept-encoding", "gzip")], "")).await;
    assert_eq!(answer.header("content-encoding"), "");
}
