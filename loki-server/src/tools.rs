//! Subcommands that work on a store without a server, or beside one.
//!
//! | command | what it does |
//! |---|---|
//! | `inspect [PLACE]` | lists segments, sections, columns, streams and their sizes |
//! | `verify [PLACE]` | compares everything with everything else; exits with 1 if something is wrong |
//! | `repair -rebuild-manifest [PLACE]` | makes a manifest of the segments that are there |
//! | `backup [PLACE] TARGET` | copies a store, of which a server may be making use |
//! | `restore BACKUP [TARGET]` | makes a store of a copy |
//! | `export [PLACE]` | writes entries as lines of JSON, or as bodies of pushes |
//!
//! A place is a folder, or the name of a configuration file (`*.yaml`, `*.yml`) that says where data is. Where it may be
//! left out, `-config.file` and the other flags of the configuration say so, as for the server.
//!
//! The tools themselves are in [`loki_store::tools`]; here is what they need of the command line and the terminal.

mod bar;
mod flags;
mod places;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;

use loki_core::{TimeRange, Timestamp};
use loki_store::tools::{
    BackupError, ExportError, ExportFormat, ExportRequest, InspectOptions, Progress, Quiet, RepairError, RepairOptions,
    Site, VerifyOptions,
};
use loki_store::{Clock, SystemClock, TenantError, TenantId};
use parking_lot::Mutex;
use serde::Serialize;

use crate::app::SharedLimits;
use crate::args::ArgsError;
use crate::config::{Config, ConfigError, RuntimeError};
use crate::extract::parse_time;
use bar::{Bar, Lines};
use flags::Flags;
pub use flags::Tool;
use places::Places;

/// Where a tool writes, and where its time comes from.
pub struct ToolIo {
    /// Takes the result.
    pub out: Box<dyn Write + Send>,
    /// Takes everything else.
    pub err: Box<dyn Write + Send>,
    /// Whether somebody watches a terminal, so that progress is a bar and not lines.
    pub is_terminal: bool,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What a tool came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It did what it was asked for.
    Clean,
    /// It did, and something is wrong with the store.
    Findings,
}

/// Why a tool did nothing, or gave up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// A flag was not understood.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The file of limits is wrong.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// There are too many places, or too few.
    #[error("usage: loki-server {} {}", tool.name(), tool.synopsis())]
    Usage {
        /// The tool.
        tool: Tool,
    },
    /// A flag has a value that means nothing.
    #[error("invalid value {value:?} for -{name}: {problem}")]
    Value {
        /// The flag.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// This is no tenant.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] loki_store::Error),
    /// A copy could not be made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The store could not be repaired.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// Entries could not be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The result could not be written.
    #[error("cannot write the result")]
    Write(#[from] io::Error),
    /// The result could not be written as JSON.
    #[error("cannot write the result as JSON")]
    Json(#[from] serde_json::Error),
}

/// Runs a tool with the words behind its name. Blocks; must not be called from an asynchronous task.
///
/// # Errors
///
/// See [`ToolError`].
pub fn run(tool: Tool, words: impl IntoIterator<Item = String>, io: ToolIo) -> Result<Verdict, ToolError> {
    let ToolIo { mut out, err, is_terminal, clock } = io;
    let flags = Flags::parse(tool, words)?;
    if flags.wants_help() {
        out.write_all(tool.help().as_bytes())?;
        out.flush()?;
        return Ok(Verdict::Clean);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let err = Arc::new(Mutex::new(err));
    let progress: Box<dyn Progress> = if flags.is_on("quiet")? {
        Box::new(Quiet)
    } else if is_terminal {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::new(Arc::clone(&err)))
    };
    let mut run = Run { tool, places: Places::of(tool, &flags)?, flags, out, err, clock, progress };
    let verdict = runtime.block_on(run.run())?;
    run.out.flush()?;
    Ok(verdict)
}

/// Several may write.
type SharedWriter = Arc<Mutex<Box<dyn Write + Send>>>;

/// A tool at work.
struct Run {
    tool: Tool,
    flags: Flags,
    places: Places,
    out: Box<dyn Write + Send>,
    err: SharedWriter,
    clock: Arc<dyn Clock>,
    progress: Box<dyn Progress>,
}

impl Run {
    async fn run(&mut self) -> Result<Verdict, ToolError> {
        match self.tool {
            Tool::Inspect => self.inspect().await,
            Tool::Verify => self.verify().await,
            Tool::Repair => self.repair().await,
            Tool::Backup => self.backup().await,
            Tool::Restore => self.restore().await,
            Tool::Export => self.export().await,
        }
    }

    async fn inspect(&mut self) -> Result<Verdict, ToolError> {
        let config = self.config()?;
        let site = Site::of(&self.places.store(&config)?)?;
        let limits = SharedLimits::new(config.limits_table()?);
        let options = InspectOptions {
            streams: self.flags.is_on("streams")?,
            segment: self.flags.get("segment").map(str::to_owned),
            limits: config.compaction.retention_enabled.then(|| limits.source()),
        };
        let report = loki_store::tools::inspect(&site, &options, &*self.progress).await?;
        self.print(&report)?;
        Ok(Verdict::Clean)
    }

    async fn verify(&mut self) -> Result<Verdict, ToolError> {
        let site = Site::of(&self.places.store(&self.config()?)?)?;
        let options = VerifyOptions { deep: self.flags.is_on("deep")? };
        let report = loki_store::tools::verify(&site, options, &*self.progress).await?;
        self.print(&report)?;
        Ok(if report.is_clean() { Verdict::Clean } else { Verdict::Findings })
    }

    async fn repair(&mut self) -> Result<Verdict, ToolError> {
        if !self.flags.is_on("rebuild-manifest")? {
            return Err(ToolError::Usage { tool: self.tool });
        }
        let site = Site::of(&self.places.store(&self.config()?)?)?;
        let options = RepairOptions { force: self.flags.is_on("force")?, dry_run: self.flags.is_on("dry-run")? };
        let report = loki_store::tools::repair(&site, options, self.clock.now(), &*self.progress).await?;
        self.print(&report)?;
        Ok(Verdict::Clean)
    }

    async fn backup(&mut self) -> Result<Verdict, ToolError> {
        let source = Site::of(&self.places.store(&self.config()?)?)?;
        let target = Site::create_for_backup(&self.places.copy()?)?;
        let report = loki_store::tools::backup(&source, &target, self.clock.now(), &*self.progress).await?;
        self.print(&report)?;
        let is_whole = report.missing.is_empty() && report.damaged.is_empty();
        Ok(if is_whole { Verdict::Clean } else { Verdict::Findings })
    }

    async fn restore(&mut self) -> Result<Verdict, ToolError> {
        let source = Site::of(&self.places.copy()?)?;
        let target = Site::create(&self.places.store(&self.config()?)?)?;
        let report = loki_store::tools::restore(&source, &target, &*self.progress).await?;
        self.print(&report)?;
        Ok(Verdict::Clean)
    }

    async fn export(&mut self) -> Result<Verdict, ToolError> {
        let config = self.config()?;
        let site = Site::of(&self.places.store(&config)?)?;
        let limits = SharedLimits::new(config.limits_table()?);
        let request = ExportRequest {
            tenant: self.flags.get("tenant").map_or_else(|| Ok(TenantId::anonymous()), TenantId::parse)?,
            query: self.flags.get("query").unwrap_or("{}").to_owned(),
            range: TimeRange::new(self.time("from", Timestamp::MIN)?, self.time("to", Timestamp::MAX)?),
            format: self.format()?,
            limits: limits.source(),
            retention_enabled: config.compaction.retention_enabled,
        };
        let clock = Arc::clone(&self.clock);
        let mut file = self.flags.get("output").map(|path| File::create_new(path).map(BufWriter::new)).transpose()?;
        let out: &mut (dyn Write + Send) = match &mut file {
            Some(file) => file,
            None => &mut self.out,
        };
        let report = loki_store::tools::export(&site, request, clock, out, &*self.progress).await?;
        write!(self.err.lock(), "{report}")?;
        Ok(if report.unreadable.is_empty() { Verdict::Clean } else { Verdict::Findings })
    }

    fn config(&self) -> Result<Config, ConfigError> {
        Config::load(self.flags.sources())
    }

    fn time(&self, name: &'static str, default: Timestamp) -> Result<Timestamp, ToolError> {
        let value = self.flags.get(name).unwrap_or_default();
        let problem = "must be seconds or nanoseconds since 1970, or RFC 3339";
        parse_time(value, default).map_err(|_| ToolError::Value { name, value: value.to_owned(), problem })
    }

    fn format(&self) -> Result<ExportFormat, ToolError> {
        match self.flags.get("format") {
            None | Some("ndjson") => Ok(ExportFormat::NdJson),
            Some("push") => Ok(ExportFormat::Push),
            Some(value) => {
                let problem = "must be ndjson or push";
                Err(ToolError::Value { name: "format", value: value.to_owned(), problem })
            }
        }
    }

    /// Prints a report as text, or as JSON.
    fn print(&mut self, report: &(impl Serialize + std::fmt::Display)) -> Result<(), ToolError> {
        if self.flags.is_on("json")? {
            serde_json::to_writer_pretty(&mut self.out, report)?;
            writeln!(self.out)?;
        } else {
            write!(self.out, "{report}")?;
        }
        Ok(())
    }
}

impl ToolIo {
    /// The process's own.
    pub fn process() -> Self {
        Self {
            out: Box::new(BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            is_terminal: io::stderr().is_terminal(),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

impl std::fmt::Debug for ToolIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolIo").field("is_terminal", &self.is_terminal).finish_non_exhaustive()
    }
}
