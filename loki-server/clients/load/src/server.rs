//! The server under load: a process with an empty folder.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Outcome;
use crate::connection::Connection;
use crate::report::Report;

const READY: Duration = Duration::from_secs(30);
const STOPPED: Duration = Duration::from_mins(1);
const SAMPLE: Duration = Duration::from_millis(250);

pub struct Server {
    pub address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts a server whose rate limits are out of the way, and waits until it is ready.
    pub async fn start(program: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let path = folder.path().display();
        let process = Command::new(program)
            .arg(format!("-server.http-listen-address={}", address.ip()))
            .arg(format!("-server.http-listen-port={}", address.port()))
            .arg(format!("-common.path-prefix={path}"))
            .arg(format!("-loki-store.data-folder={path}/data"))
            .args(["-distributor.ingestion-rate-limit-mb=10000", "-distributor.ingestion-burst-size-mb=10000"])
            .args(["-ingester.per-stream-rate-limit=10000MB", "-ingester.per-stream-rate-limit-burst=10000MB"])
            .arg("-log.level=warn")
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let server = Self { address, process, _folder: folder };
        let deadline = Instant::now() + READY;
        while !server.is_ready().await {
            if Instant::now() > deadline {
                return Err("the server does not become ready".into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.address).await else { return false };
        connection.get("/loki/api/v1/labels", &[]).await.is_ok()
    }

    /// Reads memory until a moment.
    pub async fn watch_memory(&self, end: Instant, report: &mut Report) -> Outcome<()> {
        while Instant::now() < end {
            sleep(SAMPLE).await;
            report.memory_peak = report.memory_peak.max(self.memory()?);
        }
        Ok(())
    }

    /// Resident bytes.
    pub fn memory(&self) -> Outcome<u64> {
        self.status("VmRSS:")
    }

    /// The most resident bytes ever.
    pub fn memory_peak(&self) -> Outcome<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Outcome<u64> {
        let id = self.process.id().ok_or("the server is gone")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("the server is gone")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    /// Asks the server to stop; its exit code.
    pub async fn stop(mut self) -> Outcome<Option<i32>> {
        let id = self.process.id().ok_or("the server is gone")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        Ok(timeout(STOPPED, self.process.wait()).await??.code())
    }
}
