//! A server in memory that is asked in process.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use loki_core::{Labels, TimeRange, Timestamp};
use loki_server::{App, Config, Server, ServerOptions, router};
use loki_store::{ManualClock, TenantId};
use tower::ServiceExt;

/// A server and its routes.
pub(crate) struct TestServer {
    server: Server,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// A header as text; empty when absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// Status and body, for comparing both at once.
    pub(crate) fn outcome(&self) -> (u16, String) {
        (self.status.as_u16(), self.text())
    }
}

impl TestServer {
    /// A server with the defaults of a bare start.
    pub(crate) async fn bare() -> Self {
        Self::with(ServerOptions::memory()).await
    }

    /// A server with a configuration file, in memory all the same.
    pub(crate) async fn configured(yaml: &str) -> Self {
        Self::configured_with(yaml, ServerOptions::memory()).await
    }

    /// The same at a time that stands still.
    pub(crate) async fn configured_at(now: Timestamp, yaml: &str) -> Self {
        Self::configured_with(yaml, ServerOptions::memory().with_clock(Arc::new(ManualClock::new(now)))).await
    }

    async fn configured_with(yaml: &str, mut options: ServerOptions) -> Self {
        let memory = options.config.data.location.clone();
        options.config = Config::from_yaml(yaml).unwrap_or_else(|error| panic!("{error}"));
        options.config.data.location = memory;
        options.config.http.port = 0;
        "127.0.0.1".clone_into(&mut options.config.http.address);
        Self::with(options).await
    }

    /// A server with these options.
    pub(crate) async fn with(options: ServerOptions) -> Self {
        let server = Server::start(options).await.expect("the server starts");
        let router = router(server.app().clone());
        Self { server, router }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.server.url().trim_start_matches("http://").trim_end_matches('/').to_owned()
    }

    pub(crate) fn app(&self) -> &App {
        self.server.app()
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("handlers answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("the body can be read").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request without headers and body.
    pub(crate) async fn ask(&self, method: &str, uri: &str) -> Answer {
        self.send(request(method, uri, &[], "")).await
    }

    /// Pushes JSON to Loki's route.
    pub(crate) async fn push(&self, body: impl Into<Body>) -> Answer {
        self.send(request("POST", "/loki/api/v1/push", &[("content-type", "application/json")], body)).await
    }

    /// Labels of the streams that a tenant has.
    pub(crate) async fn series(&self, tenant: &str) -> Vec<String> {
        let tenant = TenantId::parse(tenant).expect("a valid id");
        let range = TimeRange::new(Timestamp::MIN, Timestamp::MAX);
        let series = self.server.store().series(&tenant, &[vec![]], range).await.expect("the store answers");
        series.iter().map(Labels::to_string).collect()
    }
}

/// A request.
pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).expect("a valid request")
}

/// A push of one line, now, to `{app="<app>"}`.
pub(crate) fn one_line(server: &TestServer, app: &str, line: &str) -> String {
    let now = server.app().store().config().clock.now().as_nanos();
    serde_json::json!({ "streams": [{ "stream": { "app": app }, "values": [[now.to_string(), line]] }] }).to_string()
}

/// A push of lines to streams whose labels are given as JSON; times are in seconds.
pub(crate) fn streams(streams: &[(&str, Vec<(i64, String)>)]) -> String {
    let stream = |(labels, entries): &(&str, Vec<(i64, String)>)| {
        let labels: serde_json::Value = serde_json::from_str(labels).expect("labels are JSON");
        let value = |(seconds, line): &(i64, String)| serde_json::json!([format!("{seconds}000000000"), line]);
        let values: Vec<_> = entries.iter().map(value).collect();
        serde_json::json!({ "stream": labels, "values": values })
    };
    serde_json::json!({ "streams": streams.iter().map(stream).collect::<Vec<_>>() }).to_string()
}

/// Text as it stands in a URL.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}
