//! The server as its clients see it: requests in, answers out, without a socket wherever one is not the subject.

#[cfg(feature = "aws")]
mod bucket;
mod deletes;
mod hostile;
mod isolation;
mod lifecycle;
mod log;
mod metrics;
mod otlp;
mod patterns;
mod push;
mod queries;
mod refusals;
mod removals;
mod routing;
mod security;
mod status;
mod support;
mod tail;
mod tenants;
mod tools;
mod websocket;
