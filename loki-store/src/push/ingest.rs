//! The steps from a body to a staged push.

use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use loki_core::Timestamp;
use parking_lot::{Mutex, RwLock};

use super::buffers::{Buffers, Scratch};
use super::encode;
use super::error::PushError;
use super::rate::{ActiveStreams, Admission, TokenBucket};
use super::report::Reason;
use super::staged::{LogBody, Staged, StagedEntry, StagedStream};
use super::streams::StreamRules;
use super::text::{ByteSize, GoTime, Rfc3339};
use super::{PushBody, PushOutcome};
use crate::clock::Clock;
use crate::counters::StreamCounts;
use crate::limits::Limits;
use crate::tenant::TenantId;
use crate::wal::{RecordKind, ReplayRecord};

mod pass;

use pass::{Mode, Pass};

/// The largest body after decompression.
pub const MAX_BODY_BYTES: usize = 512 * 1024 * 1024;

/// The largest body in a log record, after decompression: completing a body makes it longer.
pub(super) const MAX_LOGGED_BYTES: usize = 1024 * 1024 * 1024 - 1;

/// The longest text that names a stream.
pub const MAX_LABELS_BYTES: usize = 16 * 1024 * 1024;

/// How much longer than a snappy block its content can be: three bytes can copy 64.
const MAX_SNAPPY_RATIO: usize = 64 / 3 + 1;

/// How much longer than an lz4 block its content can be.
const MAX_LZ4_RATIO: usize = 255;

/// The status of a blockade that is not to be noticed.
const SILENT_STATUS: u16 = 200;

/// Reads, checks and completes pushes; keeps what is worth knowing between them.
#[derive(Debug, Default)]
pub struct Ingest {
    tenants: RwLock<HashMap<TenantId, Arc<TenantIngest>, foldhash::fast::RandomState>>,
    /// Kept when a tenant has no active streams any more.
    stream_counts: RwLock<HashMap<TenantId, Arc<StreamCounts>, foldhash::fast::RandomState>>,
    buffers: Arc<Buffers>,
}

#[derive(Debug)]
struct TenantIngest {
    rules: Mutex<Arc<StreamRules>>,
    rate: Mutex<Option<TokenBucket>>,
    active: Mutex<ActiveStreams>,
}

impl Ingest {
    /// Reads, checks and completes a push.
    ///
    /// What is in the result is to be stored, which may be nothing. What the client is to be told stands in
    /// [`Staged::outcome`]. Hand in the same `limits` as long as they do not change: what is known of the tenant's
    /// streams is forgotten with them.
    pub fn stage(&self, tenant: &TenantId, body: PushBody, limits: &Arc<Limits>, clock: &dyn Clock) -> Staged {
        let mut staged = self.empty(tenant, clock.now());
        if let Err(error) = self.try_stage(&mut staged, body, limits, clock.monotonic_nanos()) {
            staged.refuse(error);
        }
        staged
    }

    /// Reads a log record again. No limit applies, since all of it was accepted once.
    pub fn replay(&self, record: &ReplayRecord, limits: &Arc<Limits>, clock: &dyn Clock) -> Result<Staged, PushError> {
        let ingest = self.tenant(&record.tenant, limits);
        let rules = ingest.rules(&record.tenant, limits);
        let mut staged = self.empty(&record.tenant, record.arrival);
        let mode = if record.kind == RecordKind::Final { Mode::AsIs } else { Mode::Derive };
        match record.kind {
            RecordKind::Snappy => inflate_snappy(&mut staged.scratch, &record.body, MAX_LOGGED_BYTES)?,
            RecordKind::Plain | RecordKind::Final => inflate_lz4(&mut staged.scratch, &record.body, MAX_LOGGED_BYTES)?,
        }
        staged.scratch.decode()?;
        let mut pass = Pass::new(&rules, mode);
        pass.run(&mut staged.scratch)?;
        (staged.outcome, _) = pass.finish();
        staged.count();
        let now_nanos = clock.monotonic_nanos();
        let mut active = ingest.active.lock();
        for stream in &staged.scratch.streams {
            active.touch(stream.stream.hash, limits.per_stream_burst_bytes, now_nanos);
        }
        Ok(staged)
    }

    /// How many streams of a tenant were written to lately.
    pub fn active_streams(&self, tenant: &TenantId, clock: &dyn Clock) -> usize {
        let ingest = self.tenants.read().get(tenant).cloned();
        ingest.map_or(0, |ingest| ingest.active.lock().len(clock.monotonic_nanos()))
    }

    /// The same of every tenant that has any.
    pub fn active_streams_by_tenant(&self, clock: &dyn Clock) -> Vec<(TenantId, usize)> {
        let now_nanos = clock.monotonic_nanos();
        let tenants = self.tenants.read();
        let counts = tenants.iter().map(|(tenant, ingest)| (tenant.clone(), ingest.active.lock().len(now_nanos)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Streams that became active and that are not any more, by tenant.
    pub fn stream_counts(&self) -> Vec<(TenantId, Arc<StreamCounts>)> {
        let counts = self.stream_counts.read();
        counts.iter().map(|(tenant, counts)| (tenant.clone(), Arc::clone(counts))).collect()
    }

    /// Forgets tenants without active streams and gives the memory of idle buffers back.
    pub fn release_idle(&self, clock: &dyn Clock) {
        let now_nanos = clock.monotonic_nanos();
        self.tenants.write().retain(|_, ingest| ingest.active.lock().len(now_nanos) > 0);
        self.buffers.release();
    }

    fn tenant(&self, tenant: &TenantId, limits: &Arc<Limits>) -> Arc<TenantIngest> {
        if let Some(ingest) = self.tenants.read().get(tenant) {
            return Arc::clone(ingest);
        }
        let new = || {
            let rules = StreamRules::new(tenant.clone(), Arc::clone(limits));
            let counts = Arc::clone(self.stream_counts.write().entry(tenant.clone()).or_default());
            let active = Mutex::new(ActiveStreams::new(counts));
            Arc::new(TenantIngest { rules: Mutex::new(Arc::new(rules)), rate: Mutex::default(), active })
        };
        Arc::clone(self.tenants.write().entry(tenant.clone()).or_insert_with(new))
    }

    fn empty(&self, tenant: &TenantId, arrival: Timestamp) -> Staged {
        Staged {
            tenant: tenant.clone(),
            arrival,
            scratch: self.buffers.take(),
            buffers: Arc::clone(&self.buffers),
            log_body: LogBody::Final,
            logged: OnceLock::new(),
            outcome: PushOutcome::default(),
        }
    }

    /// Fails when nothing of the push is to be stored.
    fn try_stage(
        &self,
        staged: &mut Staged,
        body: PushBody,
        limits: &Arc<Limits>,
        now_nanos: u64,
    ) -> Result<(), PushError> {
        let ingest = self.tenant(&staged.tenant, limits);
        let rules = ingest.rules(&staged.tenant, limits);
        staged.log_body = read_body(&mut staged.scratch, body)?;
        if staged.scratch.raw.streams.is_empty() {
            return Err(PushError::NoStreams);
        }
        let mut pass = Pass::new(&rules, Mode::Check(staged.arrival));
        pass.run(&mut staged.scratch)?;
        let is_changed = pass.is_changed();
        (staged.outcome, staged.outcome.error) = pass.finish();
        staged.block(limits);
        ingest.admit(staged, limits, now_nanos)?;
        staged.count();
        if is_changed || !staged.outcome.rejections.is_empty() {
            staged.log_body = LogBody::Final;
            check_size(staged.max_final_bytes(), MAX_LOGGED_BYTES)?;
        }
        Ok(())
    }
}

/// Reads a body into `scratch`, and says how it could be logged if all of it is accepted.
fn read_body(scratch: &mut Scratch, body: PushBody) -> Result<LogBody, PushError> {
    let log_body = match body {
        PushBody::Snappy(body) => {
            inflate_snappy(scratch, &body, MAX_BODY_BYTES)?;
            LogBody::Verbatim(RecordKind::Snappy, body)
        }
        PushBody::Protobuf(body) => {
            check_size(body.len(), MAX_BODY_BYTES)?;
            scratch.shared = Some(body);
            LogBody::Plain
        }
        PushBody::Streams(streams) => {
            let body = encode::streams(&streams);
            check_size(body.len(), MAX_BODY_BYTES)?;
            scratch.shared = Some(body.into());
            LogBody::Plain
        }
    };
    scratch.decode()?;
    Ok(log_body)
}

fn check_size(bytes: usize, limit_bytes: usize) -> Result<(), PushError> {
    if bytes > limit_bytes {
        return Err(PushError::TooLarge { bytes: bytes as u64, limit_bytes: limit_bytes as u64 });
    }
    Ok(())
}

fn inflate_snappy(scratch: &mut Scratch, block: &[u8], limit_bytes: usize) -> Result<(), PushError> {
    let claimed = snap::raw::decompress_len(block).map_err(|_| PushError::Snappy)?;
    if block.is_empty() || claimed / MAX_SNAPPY_RATIO > block.len() {
        return Err(PushError::Snappy);
    }
    check_size(claimed, limit_bytes)?;
    let room = scratch.inflated_mut(claimed);
    let written = snap::raw::Decoder::new().decompress(block, room).map_err(|_| PushError::Snappy)?;
    if written == claimed { Ok(()) } else { Err(PushError::Snappy) }
}

fn inflate_lz4(scratch: &mut Scratch, block: &[u8], limit_bytes: usize) -> Result<(), PushError> {
    let (claimed, block) = lz4_flex::block::uncompressed_size(block).map_err(|_| PushError::Lz4)?;
    if claimed / MAX_LZ4_RATIO > block.len() {
        return Err(PushError::Lz4);
    }
    check_size(claimed, limit_bytes)?;
    let room = scratch.inflated_mut(claimed);
    let written = lz4_flex::block::decompress_into(block, room).map_err(|_| PushError::Lz4)?;
    if written == claimed { Ok(()) } else { Err(PushError::Lz4) }
}

impl TenantIngest {
    /// The rules that follow from `limits`; made anew when the limits are others than the last time.
    fn rules(&self, tenant: &TenantId, limits: &Arc<Limits>) -> Arc<StreamRules> {
        let mut rules = self.rules.lock();
        if !Arc::ptr_eq(&rules.limits, limits) {
            *rules = Arc::new(StreamRules::new(tenant.clone(), Arc::clone(limits)));
        }
        Arc::clone(&rules)
    }

    /// Applies the limits that depend on what was written before: rates and active streams.
    fn admit(&self, staged: &mut Staged, limits: &Limits, now_nanos: u64) -> Result<(), PushError> {
        let (tenant, scratch) = (&staged.tenant, &mut staged.scratch);
        let lines: u64 = scratch.streams.iter().map(|stream| stream.entries.len() as u64).sum();
        let bytes: u64 = scratch.streams.iter().map(StagedStream::bytes).sum();
        let (rate_bytes, burst_bytes) = (limits.ingestion_rate_bytes, limits.ingestion_burst_bytes);
        let mut rate = self.rate.lock();
        let bucket = rate.get_or_insert(TokenBucket::full(burst_bytes, now_nanos));
        if !bucket.take(bytes, rate_bytes, burst_bytes, now_nanos) {
            return Err(PushError::RateLimited { tenant: tenant.clone(), limit_bytes: rate_bytes, lines, bytes });
        }
        drop(rate);

        let mut active = self.active.lock();
        let mut first_error = None;
        let (entries, outcome) = (&scratch.entries, &mut staged.outcome);
        scratch.streams.retain(|stream| {
            let first_timestamp = entries[stream.entries.range().start].timestamp;
            let (reason, error) = if limits.schema_start.is_some_and(|start| first_timestamp < start) {
                (Reason::BeforeSchema, PushError::BeforeSchema(first_timestamp))
            } else {
                match active.admit(stream.stream.hash, stream.bytes(), limits, now_nanos) {
                    Admission::Granted => return true,
                    Admission::TooManyStreams => (Reason::StreamLimit, stream_limit(stream, tenant)),
                    Admission::TooFast => (
                        Reason::PerStreamRateLimit,
                        stream_rate(stream, &entries[stream.entries.range()], tenant, limits),
                    ),
                }
            };
            outcome.reject(reason, stream.entries.len() as u64, stream.bytes());
            first_error.get_or_insert(error);
            false
        });
        if first_error.is_some() {
            outcome.error = first_error;
        }
        Ok(())
    }
}

fn stream_limit(stream: &StagedStream, tenant: &TenantId) -> PushError {
    PushError::StreamLimit { stream: stream.stream.labels.to_string(), tenant: tenant.clone() }
}

/// One line for each of the first entries, and one for all of them.
fn stream_rate(stream: &StagedStream, entries: &[StagedEntry], tenant: &TenantId, limits: &Limits) -> PushError {
    use std::fmt::Write as _;

    let labels = &stream.stream.labels;
    let reason = format!(
        "Per stream rate limit exceeded (limit: {}/sec) while attempting to ingest for stream '{labels}' totaling {}, \
         consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can \
         be increased",
        ByteSize(limits.per_stream_rate_bytes),
        ByteSize(stream.bytes()),
    );
    let mut text = String::new();
    for entry in entries.iter().take(limits.max_returned_stream_errors) {
        let _ = writeln!(text, "entry with timestamp {} ignored, reason: '{reason}',", GoTime(entry.timestamp));
    }
    let total = entries.len();
    let _ = write!(text, "user '{tenant}', total ignored: {total} out of {total} for stream: {labels}");
    PushError::StreamRate(text)
}

impl Staged {
    /// Drops everything when the tenant is blocked; errors found before are the ones to answer.
    fn block(&mut self, limits: &Limits) {
        let Some(until) = limits.block_ingestion_until.filter(|&until| self.arrival < until) else {
            return;
        };
        for stream in self.scratch.streams.drain(..) {
            self.outcome.reject(Reason::BlockedIngestion, stream.entries.len() as u64, stream.bytes());
        }
        let status = limits.block_ingestion_status;
        if status != SILENT_STATUS && self.outcome.error.is_none() {
            let until = Rfc3339(until).to_string();
            self.outcome.error = Some(PushError::Blocked { tenant: self.tenant.clone(), until, status });
        }
    }

    /// What the accepted entries take in a log record at most, before compression.
    fn max_final_bytes(&self) -> usize {
        /// Tags, lengths and the time of an entry, or tags and lengths of a stream.
        const OVERHEAD_BYTES: usize = 64;
        let stream = |stream: &StagedStream| {
            let entries = &self.scratch.entries[stream.entries.range()];
            // Tags and lengths of a pair are no longer than thrice the pair, and a quoted byte is at most four.
            let entries = entries.iter().map(|entry| entry.line.len() + 3 * entry.metadata.len() + OVERHEAD_BYTES);
            entries.sum::<usize>() + 8 * stream.stream.labels.size_bytes() + OVERHEAD_BYTES
        };
        self.scratch.streams.iter().map(stream).sum()
    }

    /// Drops everything.
    fn refuse(&mut self, error: PushError) {
        self.scratch.streams.clear();
        self.outcome = PushOutcome::default();
        if let PushError::RateLimited { lines, bytes, .. } = &error {
            self.outcome.reject(Reason::RateLimited, *lines, *bytes);
        }
        self.outcome.error = Some(error);
    }

    /// Counts what is left.
    fn count(&mut self) {
        for stream in &self.scratch.streams {
            self.outcome.entries += stream.entries.len() as u64;
            self.outcome.line_bytes += stream.line_bytes;
            self.outcome.metadata_bytes += stream.metadata_bytes;
            let entries = &self.scratch.entries[stream.entries.range()];
            let newest = entries.iter().map(|entry| entry.timestamp).max();
            self.outcome.newest = self.outcome.newest.max(newest);
        }
    }
}

#[cfg(test)]
mod tests;
