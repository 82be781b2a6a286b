//! A log server with Loki's HTTP API.
//!
//! Grafana, promtail, Alloy, fluent-bit, Vector and OpenTelemetry use it as if it were Loki. It runs as the program
//! `loki-server`, inside another program, or inside a test:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use loki_server::{Server, ServerOptions};
//!
//! let server = Server::start(ServerOptions::memory()).await?;
//! assert!(server.url().starts_with("http://127.0.0.1:"));
//! server.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`router`] gives the routes alone, as a value that can be asked without a socket or nested into a service.
//!
//! # Map
//!
//! | module | subject |
//! |---|---|
//! | [`config`] | Loki's YAML and flags |
//! | [`args`] | the command line |
//! | [`tools`] | subcommands that work on a store without a server |
//! | `auth`, `tls` | who may send requests, and how they are kept secret |
//! | `serve` | listener, background work, shutdown |
//! | `app` | what all handlers share |
//! | `routes` | the route table, one module an area |
//! | `extract` | tenants and parameters of requests |
//! | `decode` | bodies of push requests |
//! | `error` | what clients are told |
//! | `metrics`, `process` | `/metrics` |
//! | [`logging`] | logfmt and JSON lines on stderr |
//! | [`traces`], `spans` | what requests take, for a collector of traces |
//! | [`allocator`], `memory` | what the process takes, and who may take how much |
//! | `queries` | where queries run, and what they may ask |
//! | `tenants` | queries over several tenants |
//! | `detected` | fields of lines |
//! | `response` | answers as Loki's JSON |
//! | `workers` | threads for queries |

pub mod allocator;
pub mod args;
pub mod config;
pub mod logging;
pub mod tools;
pub mod traces;
pub mod version;

mod app;
mod auth;
mod decode;
mod detected;
mod error;
mod extract;
mod memory;
mod metrics;
mod process;
mod queries;
mod response;
mod routes;
mod serve;
mod spans;
mod tenants;
mod tls;
mod workers;

pub use app::{App, AppParts, Phase, SharedLimits};
pub use auth::{AuthError, Right};
pub use config::{Config, ConfigError};
pub use error::ApiError;
pub use routes::{route_paths, router};
pub use serve::{Server, ServerOptions, StartError};
pub use tls::TlsError;
