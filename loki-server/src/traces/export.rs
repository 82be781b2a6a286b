//! The way of spans to a collector: batches of protobuf over HTTP, from a thread of their own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer as _;

use super::TracesError;
use crate::logging::Listener;
use crate::version;

/// What we are called when the environment gives us no name.
const SERVICE_NAME: &str = "loki-server";
/// What OpenTelemetry calls services without a name, before the name of the program.
const UNKNOWN_SERVICE: &str = "unknown_service";
/// The header that names the trace of a request.
const PARENT_HEADER: &str = "traceparent";
/// The crates whose spans are sent.
const OWN_TARGETS: &str = "loki_";
/// How long one request to the collector may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last spans may take when the server stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// A collector's answer is a few bytes; more than this is not from one.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Goes on with the trace that a request's headers name, if they do.
pub(crate) fn follow(span: &Span, headers: &HeaderMap) {
    if headers.contains_key(PARENT_HEADER) {
        let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // It fails where nobody sends the span anyway.
        let _ = span.set_parent(parent);
    }
}

/// Sends spans.
#[derive(Debug)]
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    pub(super) fn new(runtime: &Handle) -> Result<Self, TracesError> {
        let client = Client::new(runtime.clone())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .build()
            .map_err(TracesError::Exporter)?;
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build()))
    }

    pub(super) fn listener(&self) -> Listener {
        let is_ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target().starts_with(OWN_TARGETS);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE_NAME))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO))
            .boxed()
    }

    pub(super) fn shutdown(self) {
        if let Err(error) = self.0.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// What we are, as the environment and we ourselves say.
fn resource() -> Resource {
    let builder = Resource::builder().with_attribute(KeyValue::new("service.version", version::OWN));
    let named = Resource::builder().build().get(&Key::from_static_str("service.name"));
    let is_named = named.is_some_and(|name| !name.as_str().starts_with(UNKNOWN_SERVICE));
    if is_named { builder.build() } else { builder.with_service_name(SERVICE_NAME).build() }
}

/// An HTTP client with rustls and ring, which does its work on the server's runtime.
///
/// The client that `opentelemetry-otlp` makes by itself takes its cryptography from a process-wide setting, and brings a
/// runtime of its own.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl Client {
    fn new(runtime: Handle) -> Result<Self, TracesError> {
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of TLS 1.2 and 1.3");
        let tls = match tls.clone().with_platform_verifier() {
            Ok(tls) => tls.with_no_client_auth(),
            // A collector without TLS works all the same; for one with it, sending will say that its issuer is unknown.
            Err(_) => tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
        };
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(REQUEST_TIMEOUT).build();
        Ok(Self { http: http.map_err(TracesError::Client)?, runtime })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The thread that asks belongs to no runtime.
        self.runtime.spawn(send(self.http.clone(), request)).await?
    }
}

async fn send(client: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(Box::new(AnswerTooLarge));
        }
        body.extend_from_slice(&piece);
    }
    Ok(response.body(body.freeze())?)
}

/// Whatever answers is not a collector.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the collector's answer has more than {MAX_ANSWER_BYTES} bytes")]
struct AnswerTooLarge;
