//! The command line.

use std::time::Duration;

/// How much load, and what is asked of the server.
#[derive(Debug)]
pub struct Options {
    /// The program.
    pub server: String,
    pub duration: Duration,
    /// Connections that push, 100 entries at a time unless told otherwise.
    pub pushers: usize,
    pub entries: usize,
    /// Pushes a second of each connection; 0 = as fast as it can.
    pub pace: f64,
    /// Connections that query, with a pause after each answer.
    pub queriers: usize,
    pub pause: Duration,
    pub tails: usize,
    /// What the 99th percentile of pushes may take.
    pub max_p99: Duration,
    /// How far memory may grow: what awaits flush, the cache, and what is under way, at the server's defaults.
    pub max_growth_mb: u64,
}

impl Options {
    /// Reads pairs of names and values.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            server: "../../../target/release/loki-server".to_owned(),
            duration: Duration::from_mins(1),
            pushers: 64,
            entries: 100,
            pace: 10.0,
            queriers: 8,
            pause: Duration::from_millis(100),
            tails: 4,
            max_p99: Duration::from_millis(100),
            max_growth_mb: 160 + 64 + 128,
        };
        let words: Vec<String> = words.collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} needs a value", pair[0])) };
            options.set(name, value).map_err(|error| format!("{name} {value}: {error}"))?;
        }
        if options.pushers == 0 || options.entries == 0 {
            return Err("there must be pushers and entries".to_owned());
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "--server" => value.clone_into(&mut self.server),
            "--seconds" => self.duration = Duration::from_secs(number(value)?),
            "--pushers" => self.pushers = number(value)?,
            "--entries" => self.entries = number(value)?,
            "--pace" => self.pace = number(value)?,
            "--queriers" => self.queriers = number(value)?,
            "--pause-ms" => self.pause = Duration::from_millis(number(value)?),
            "--tails" => self.tails = number(value)?,
            "--max-p99-ms" => self.max_p99 = Duration::from_millis(number(value)?),
            "--max-growth-mb" => self.max_growth_mb = number(value)?,
            _ => {
                return Err("options are --server --seconds --pushers --entries --pace --queriers --pause-ms --tails \
                            --max-p99-ms --max-growth-mb"
                    .to_owned());
            }
        }
        Ok(())
    }
}

fn number<N: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<N, String> {
    value.parse().map_err(|error: N::Err| error.to_string())
}
