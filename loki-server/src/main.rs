//! The program `loki-server`.

use std::io::{self, Write};
use std::net::{IpAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use loki_server::args::{Args, Command, PrintConfig, help};
use loki_server::config::ShowMode;
use loki_server::tools::{self, Tool, ToolIo, Verdict};
use loki_server::traces::Traces;
use loki_server::{Config, Server, ServerOptions, allocator, logging, version};
use loki_store::{Clock, SystemClock};

/// How long `-health` waits for an answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the program waits for work that nobody needs any more.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// The targets that `-target` takes.
const TARGETS: &str = "all\n";

fn main() -> ExitCode {
    allocator::set_up();
    match run() {
        Ok(code) => code,
        Err(error) => {
            // There is nobody to tell that stderr is gone.
            let _ = writeln!(io::stderr(), "{}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn run() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1).peekable();
    if let Some(tool) = words.peek().and_then(|word| Tool::named(word)) {
        words.next();
        return Ok(match tools::run(tool, words, ToolIo::process())? {
            Verdict::Clean => ExitCode::SUCCESS,
            Verdict::Findings => ExitCode::FAILURE,
        });
    }
    let args = Args::parse(words)?;
    match args.command {
        Command::Help => io::stdout().write_all(help(false).as_bytes())?,
        Command::HelpAll => io::stdout().write_all(help(true).as_bytes())?,
        Command::ListTargets => io::stdout().write_all(TARGETS.as_bytes())?,
        Command::Version => {
            writeln!(io::stdout(), "loki-server, version {} (API of Loki {})", version::OWN, version::LOKI)?;
        }
        Command::VerifyConfig => {
            Config::load(&args.sources)?;
            writeln!(io::stdout(), "config is valid")?;
        }
        Command::Health => return health(&args),
        Command::Serve => serve(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::load(&args.sources)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (traces, no_traces) = match Traces::from_env(runtime.handle()) {
        Ok(traces) => (traces, None),
        Err(error) => (None, Some(error)),
    };
    let log = logging::init(&config.log, Arc::clone(&clock), traces.as_ref().map(Traces::listener))?;
    if let Some(error) = &no_traces {
        // Logs are worth more than traces of how they were stored.
        tracing::warn!(error = %chain(error), "no traces are sent");
    }
    print_config(args.print_config, &config)?;
    warn(&config);
    let options = ServerOptions::new(config).with_clock(clock).with_log(log);
    let served = runtime.block_on(async {
        let server = Server::start(options).await?;
        announce(&server);
        tokio::select! {
            signal = stop_signal() => tracing::info!(signal = signal?, "stopping"),
            () = server.stop_requested() => tracing::info!("stopping as a request asked for"),
        }
        server.shutdown().await?;
        tracing::info!("stopped");
        Ok(())
    });
    if let Some(traces) = traces {
        traces.shutdown();
    }
    // All that counts is stored; a disk that does not answer must not keep the process.
    runtime.shutdown_timeout(LEFTOVER_TIMEOUT);
    served
}

fn print_config(mode: PrintConfig, config: &Config) -> io::Result<()> {
    match mode {
        PrintConfig::No => Ok(()),
        PrintConfig::Stderr => io::stderr().write_all(config.show(ShowMode::Effective).as_bytes()),
        PrintConfig::LogReversed => {
            let text = config.show(ShowMode::Effective);
            text.lines().rev().for_each(|line| tracing::info!("{line}"));
            Ok(())
        }
    }
}

/// Says what an operator should know before the first request.
fn warn(config: &Config) {
    if !config.idle.is_empty() {
        tracing::warn!(settings = config.idle.join(" "), "these settings are accepted but have no effect here");
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let address = config.http.address.trim_matches(['[', ']']);
    let is_local = address == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_local && !config.is_guarded() {
        tracing::warn!(
            "listening on all addresses without authentication: anybody who reaches the port can read and write"
        );
    }
}

/// One line that tells where things are and what to try first.
fn announce(server: &Server) {
    let url = server.url();
    let location = server.app().config().data.location.to_string();
    let attempt = format!(
        r#"curl -sS {url}/loki/api/v1/push -H 'Content-Type: application/json' -d '{{"streams":[{{"stream":{{"app":"hello"}},"values":[["'$(date +%s%N)'","hello"]]}}]}}'"#
    );
    tracing::info!(address = %server.address(), location, "try" = attempt, "ready for requests at {url}");
}

async fn stop_signal() -> io::Result<&'static str> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok("SIGTERM"),
            outcome = tokio::signal::ctrl_c() => outcome.map(|()| "SIGINT"),
        }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.map(|()| "Ctrl-C")
    }
}

/// Asks a running server whether it is ready; the answer is the exit code.
fn health(args: &Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let url = if let Some(url) = &args.health_url {
        url.clone()
    } else {
        let http = Config::load(&args.sources)?.http;
        format!("http://localhost:{}{}/ready", http.port, http.path_prefix)
    };
    let uri: http::Uri = url.parse()?;
    let host = uri.host().unwrap_or("localhost");
    let mut stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80)))?;
    stream.set_read_timeout(Some(HEALTH_TIMEOUT))?;
    stream.set_write_timeout(Some(HEALTH_TIMEOUT))?;
    let path = uri.path_and_query().map_or("/ready", |path| path.as_str());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let status = status_of(stream)?;
    writeln!(io::stdout(), "{status}")?;
    Ok(if status.split(' ').nth(1) == Some("200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first line of an answer.
fn status_of(stream: TcpStream) -> io::Result<String> {
    let mut line = String::new();
    io::BufRead::read_line(&mut io::Read::take(io::BufReader::new(stream), 1024), &mut line)?;
    Ok(line.trim_end().to_owned())
}
