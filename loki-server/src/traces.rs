//! Traces of requests, sent to a collector over OTLP where OpenTelemetry's environment variables say so.
//!
//! | variable | meaning |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the collector; without one nothing is set up |
//! | `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER` | `true` and `none` turn traces off all the same |
//! | `OTEL_EXPORTER_OTLP_HEADERS` | headers of requests to the collector |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who we are; `loki-server` unless named |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces are kept |
//! | `OTEL_BSP_*`, `OTEL_EXPORTER_OTLP_TIMEOUT` | how spans are batched and how long sending is tried |
//!
//! A request with the W3C's `traceparent` continues its trace. Builds without the feature `traces` have none of this and
//! say so when they are asked for it.

#[cfg(feature = "traces")]
mod export;

use tokio::runtime::Handle;

use crate::logging::Listener;

#[cfg(feature = "traces")]
pub(crate) use export::follow;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The variables that name a protocol, the most specific first.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// The one protocol that is spoken.
const PROTOCOL: &str = "http/protobuf";

/// Sends spans to a collector while it lives.
#[derive(Debug)]
pub struct Traces {
    #[cfg(feature = "traces")]
    exporter: export::Exporter,
}

/// Why traces that the environment asks for are not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// The program was built without them.
    #[error("this program was built without the feature `traces`")]
    NotBuilt,
    /// The protocol is another.
    #[error("{variable} asks for {protocol}, but only {PROTOCOL} is spoken")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// Its value.
        protocol: String,
    },
    /// Other variables are wrong.
    #[cfg(feature = "traces")]
    #[error("the exporter cannot be set up")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
    /// There is no HTTP client.
    #[cfg(feature = "traces")]
    #[error("the exporter has no HTTP client")]
    Client(#[source] reqwest::Error),
}

impl Traces {
    /// Sets up what the environment asks for; `None` when it asks for nothing. Requests are sent on `runtime`.
    pub fn from_env(runtime: &Handle) -> Result<Option<Self>, TracesError> {
        if !are_wanted(|name| std::env::var(name).ok())? {
            return Ok(None);
        }
        #[cfg(feature = "traces")]
        return Ok(Some(Self { exporter: export::Exporter::new(runtime)? }));
        #[cfg(not(feature = "traces"))]
        {
            let _ = runtime;
            Err(TracesError::NotBuilt)
        }
    }

    /// What hears of spans, for [`crate::logging::init`].
    pub fn listener(&self) -> Listener {
        #[cfg(feature = "traces")]
        return self.exporter.listener();
        #[cfg(not(feature = "traces"))]
        Box::new(tracing_subscriber::layer::Identity::new())
    }

    /// Sends what waits, for a few seconds at most. The runtime must still be there, and this is not one of its threads.
    pub fn shutdown(self) {
        #[cfg(feature = "traces")]
        self.exporter.shutdown();
    }
}

/// Whether an environment asks for traces. Empty variables count as absent, as OpenTelemetry has it.
fn are_wanted(lookup: impl Fn(&str) -> Option<String>) -> Result<bool, TracesError> {
    let value = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let is = |name, expected: &str| value(name).is_some_and(|value| value.eq_ignore_ascii_case(expected));
    let is_off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    if is_off || ENDPOINTS.iter().all(|name| value(name).is_none()) {
        return Ok(false);
    }
    match PROTOCOLS.into_iter().find_map(|variable| Some((variable, value(variable)?))) {
        Some((variable, protocol)) if protocol != PROTOCOL => Err(TracesError::Protocol { variable, protocol }),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(variables: &[(&str, &str)]) -> Result<bool, String> {
        let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        are_wanted(lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_asks_for_traces() {
        for endpoint in ENDPOINTS {
            assert_eq!(wanted(&[(endpoint, "http://collector:4318")]), Ok(true), "{endpoint}");
            assert_eq!(wanted(&[(endpoint, " ")]), Ok(false), "{endpoint} is empty");
        }
        assert_eq!(wanted(&[]), Ok(false));
        assert_eq!(wanted(&[("OTEL_SERVICE_NAME", "logs"), ("OTEL_TRACES_SAMPLER", "always_on")]), Ok(false));
    }

    #[test]
    fn traces_can_be_turned_off() {
        let endpoint = (ENDPOINTS[0], "http://collector:4318");
        assert_eq!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "True")]), Ok(false));
        assert_eq!(wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
        assert_eq!(wanted(&[endpoint, ("OTEL_SDK_DISABLED", "false")]), Ok(true));
    }

    #[test]
    fn other_protocols_are_refused() {
        let endpoint = (ENDPOINTS[1], "http://collector:4317");
        let error = "OTEL_EXPORTER_OTLP_PROTOCOL asks for grpc, but only http/protobuf is spoken";
        assert_eq!(wanted(&[endpoint, (PROTOCOLS[1], "grpc")]), Err(error.to_owned()));
        assert_eq!(wanted(&[endpoint, (PROTOCOLS[1], "grpc"), (PROTOCOLS[0], PROTOCOL)]), Ok(true));
        assert_eq!(wanted(&[(PROTOCOLS[1], "grpc")]), Ok(false), "nothing is sent");
    }
}
