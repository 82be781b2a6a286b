//! Where queries run: in turn, on threads for computing, until they are done, too late or no longer wanted.
//!
//! A handler hands its work to [`Queries::run`] and waits. The work waits for its turn ([`Admission`]), then occupies
//! one blocking thread, so that threads that serve connections never compute; scans inside it spread over more of them
//! ([`crate::workers`]). When the deadline passes or the client goes away the handler's future is dropped, and with it
//! a guard that tells the work to stop.

mod admission;
mod blocked;
mod brought;
mod limits;
pub(crate) mod memory;
mod report;
mod spaced;
mod tails;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use loki_core::Timestamp;
use loki_logql::ast::Expr;
use loki_logql::budget::{Budget, BudgetScope};
use loki_logql::engine::{CancelToken, Engine, Error, ErrorKind};
use loki_logql::engine::{InstantQuery, QueryLimits, RangeQuery};
use loki_logql::memory::MemoryQuerier;
use loki_logql::result::Response;
use loki_store::{Clock, Store};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::config::QueryConfig;
use crate::error::{ApiError, STATUS_CLIENT_GONE};
use crate::metrics::Exposition;
use crate::response::QueryTimes;
use crate::spans;
use crate::tenants::{TenantMatchers, Tenants, rename_error, rename_expr, rename_result};
use admission::Admission;
use memory::QueryMemory;
use report::{Asked, Cost, Ended, QueryMetrics};

pub(crate) use blocked::QueryClass;
pub(crate) use brought::WholeQuery;
pub(crate) use limits::{Lookback, RequestLimits, query_bytes};
pub(crate) use tails::{TailCounts, TailSlot};

/// Runs the queries of this process.
#[derive(Debug)]
pub(crate) struct Queries {
    engine: Engine,
    admission: Admission,
    memory: QueryMemory,
    tails: TailCounts,
    metrics: QueryMetrics,
    log_longer_than: Option<Duration>,
    clock: Arc<dyn Clock>,
}

/// What an answer and its text take, for each byte of the answer.
const ANSWER_FACTOR: usize = 2;

/// What running work knows about itself.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Set when nobody waits for the answer any more.
    pub(crate) cancel: CancelToken,
    /// Memory that the work draws from.
    pub(crate) memory: Budget,
    /// What it cost to get here.
    pub(crate) times: QueryTimes,
}

/// What a request asks of the engine.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// At one moment.
    Instant(InstantQuery),
    /// Over a range of time.
    Range(RangeQuery),
}

impl Question {
    fn expr(&self) -> &Expr {
        match self {
            Self::Instant(query) => &query.expr,
            Self::Range(query) => &query.expr,
        }
    }
}

/// Tells work to stop once it is dropped.
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Queries {
    /// Queries that `engine` answers within `memory`.
    pub(crate) fn new(engine: Engine, memory: QueryMemory, config: &QueryConfig, clock: Arc<dyn Clock>) -> Self {
        let admission = Admission::new(config.max_concurrent, config.max_outstanding);
        Self {
            engine,
            admission,
            memory,
            tails: TailCounts::default(),
            metrics: QueryMetrics::default(),
            log_longer_than: config.log_longer_than,
            clock,
        }
    }

    /// Waits for a turn and does `work` on a thread for computing, all within `timeout` (zero for none).
    pub(crate) async fn run<T, W, F>(&self, tenants: &Tenants, timeout: Duration, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(Turn) -> F + Send + 'static,
        F: Future<Output = Result<T, ApiError>>,
    {
        let token = CancelToken::default();
        let _guard = CancelOnDrop(token.clone());
        let (_waits, nobody_waits) = oneshot::channel();
        let answer = self.take_turn(tenants, token, nobody_waits, work);
        match timeout {
            Duration::ZERO => answer.await,
            timeout => tokio::time::timeout(timeout, answer).await.unwrap_or_else(|_| Err(Error::Deadline.into())),
        }
    }

    /// `nobody_waits` ends work that never looks at its token, at the next moment at which it waits for something.
    async fn take_turn<T, W, F>(
        &self,
        tenants: &Tenants,
        cancel: CancelToken,
        nobody_waits: oneshot::Receiver<Infallible>,
        work: W,
    ) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(Turn) -> F + Send + 'static,
        F: Future<Output = Result<T, ApiError>>,
    {
        let asked_at = self.clock.monotonic_nanos();
        let permit = self.admission.enter(&tenants.joined()).await?;
        let turn = Turn {
            cancel,
            memory: self.memory.of_query(&tenants.joined()),
            times: QueryTimes { queue_nanos: self.clock.monotonic_nanos().saturating_sub(asked_at) },
        };
        let runtime = Handle::current();
        let (relief, clock) = (Arc::clone(self.memory.relief()), Arc::clone(&self.clock));
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if turn.cancel.is_cancelled() {
                return Err(Error::Cancelled.into());
            }
            let answer = runtime.block_on(async {
                tokio::select! {
                    biased;
                    answer = work(turn) => answer,
                    _ = nobody_waits => Err(Error::Cancelled.into()),
                }
            });
            relief.look(clock.monotonic_nanos());
            answer
        });
        done.await.unwrap_or_else(|_| Err(ApiError::internal("the query stopped unexpectedly")))
    }

    /// Answers a question about the entries of some tenants and passes the answer to `write`, on the same thread.
    pub(crate) async fn answer<T: Send + 'static>(
        &self,
        store: &Store,
        tenants: &Tenants,
        limits: &RequestLimits,
        question: Question,
        write: impl FnOnce(Response, QueryTimes) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let asked = Asked::note(&question, self.log_longer_than.is_some(), self.clock.monotonic_nanos());
        let (engine, store, of_request) = (self.engine.clone(), store.clone(), limits.clone());
        let of_tenants = tenants.clone();
        // It begins now, so that waiting for a turn is part of it.
        let span = tracing::info_span!(
            "query",
            logql.query = spans::clipped(&question.expr().to_string()),
            logql.queue_ms = Empty
        );
        let answer = self.run(tenants, limits.timeout(), move |turn| async move {
            let (times, memory) = (turn.times, turn.memory.clone());
            span.record("logql.queue_ms", times.queue_nanos as f64 / 1e6);
            let store = store.drawing_on(memory.clone());
            let response = ask(&engine, &store, &of_tenants, &of_request, question, turn).instrument(span).await?;
            let mut answer = memory.reservation();
            answer.grow(ANSWER_FACTOR * response.result.size_bytes())?;
            let cost = Cost { stats: response.stats, times };
            Ok((write(response, times), cost))
        });
        let (answer, cost) = match answer.await {
            Ok((answer, cost)) => (Ok(answer), cost),
            Err(error) => (Err(error), Cost::default()),
        };
        let ended =
            Ended { cost, error: answer.as_ref().err(), nanos: self.clock.monotonic_nanos(), now: self.clock.now() };
        asked.log_if_slow(self.log_longer_than, tenants, limits, &ended);
        self.metrics.record(&asked, &ended);
        answer
    }

    /// Gives memory back that work left behind, if that is much.
    pub(crate) async fn relieve(&self) {
        let (relief, now) = (Arc::clone(self.memory.relief()), self.clock.monotonic_nanos());
        // Nothing depends on it.
        let _ = tokio::task::spawn_blocking(move || relief.look(now)).await;
    }

    /// Numbers about queries so far.
    pub(crate) fn expose(&self, out: &mut Exposition) {
        self.metrics.expose(out);
        let waiting = self.admission.waiting();
        out.gauge("query_scheduler_queue_length", "Queries that wait for their turn.", waiting as f64);
        out.gauge("querier_tail_active", "Live tails.", self.tails.count() as f64);
    }

    /// Answers a log query from entries in memory, at once and whatever else is going on.
    pub(crate) async fn answer_live(&self, entries: MemoryQuerier, query: RangeQuery) -> Result<Response, ApiError> {
        let engine = self.engine.clone();
        let limits = QueryLimits {
            max_entries: 0,
            memory: self.memory.all().child(BudgetScope::Query, self.memory.all().limit_bytes()),
            ..QueryLimits::default()
        };
        let runtime = Handle::current();
        let done = tokio::task::spawn_blocking(move || {
            runtime.block_on(engine.range_query(Arc::new(entries), query, &limits))
        });
        done.await.unwrap_or_else(|_| Err(Error::Cancelled)).map_err(ApiError::from)
    }

    /// The memory that all queries share.
    pub(crate) fn memory(&self) -> &Budget {
        self.memory.all()
    }

    /// Who watches live entries.
    pub(crate) fn tails(&self) -> &TailCounts {
        &self.tails
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Asks the engine, in the names of one or several tenants.
async fn ask(
    engine: &Engine,
    store: &Store,
    tenants: &Tenants,
    limits: &RequestLimits,
    mut question: Question,
    turn: Turn,
) -> Result<Response, ApiError> {
    let limits = limits.of_query(turn);
    let expr = match &mut question {
        Question::Instant(query) => &mut query.expr,
        Question::Range(query) => &mut query.expr,
    };
    let mode = match expr {
        Expr::Log(_) => TenantMatchers::Resolved,
        _ => TenantMatchers::Kept,
    };
    if tenants.are_several() {
        rename_expr(expr);
    }
    let querier = tenants.querier(store, mode);
    let answered = match question {
        Question::Instant(query) => engine.instant_query(querier, query, &limits).await,
        Question::Range(query) if query.interval_nanos > 0 && matches!(query.expr, Expr::Log(_)) => {
            spaced::query(engine, querier, query, &limits).await
        }
        Question::Range(query) => engine.range_query(querier, query, &limits).await,
    };
    if !tenants.are_several() {
        return answered.map_err(ApiError::from);
    }
    match answered {
        Ok(mut response) => {
            rename_result(&mut response.result);
            Ok(response)
        }
        Err(mut error) => {
            rename_error(&mut error);
            Err(error.into())
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Limit | ErrorKind::Memory => StatusCode::BAD_REQUEST,
            ErrorKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Cancelled => {
                StatusCode::from_u16(STATUS_CLIENT_GONE).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            ErrorKind::Evaluation | ErrorKind::Storage | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, crate::error::chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http::HeaderMap;
    use loki_logql::engine::EngineOptions;
    use loki_store::SystemClock;

    use super::*;
    use crate::config::Config;
    use crate::extract::TenantHeader;
    use crate::memory::Relief;

    fn unlimited() -> QueryMemory {
        QueryMemory::new(Budget::unlimited(), u64::MAX, u64::MAX, Relief::new(Budget::unlimited()))
    }

    fn queries() -> Queries {
        let engine = Engine::new(EngineOptions::inline(Arc::new(|| Timestamp(0))));
        Queries::new(engine, unlimited(), &Config::bare().query, Arc::new(SystemClock::new()))
    }

    fn tenants() -> Tenants {
        let header = TenantHeader::from_headers(&HeaderMap::new(), false).expect("nothing is needed");
        Tenants::of(&header).expect("the anonymous tenant")
    }

    fn until_cancelled(turn: &Turn) {
        while !turn.cancel.is_cancelled() {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn work_that_takes_too_long_is_stopped_and_its_client_told() {
        let (ended, end) = oneshot::channel();
        let work = move |turn: Turn| async move {
            until_cancelled(&turn);
            let _ = ended.send(());
            Ok(())
        };
        let error = queries().run(&tenants(), Duration::from_millis(1), work).await.expect_err("too late");
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(error.message().starts_with("request timed out, decrease the duration of the request"));
        // Either it ended, or it had not begun when the time was up and never will: then its end was dropped.
        let _ = end.await;
    }

    #[tokio::test]
    async fn waiting_for_a_turn_counts_as_time() {
        let mut config = Config::bare().query;
        config.max_concurrent = 1;
        let engine = Engine::new(EngineOptions::inline(Arc::new(|| Timestamp(0))));
        let queries = Queries::new(engine, unlimited(), &config, Arc::new(SystemClock::new()));
        let (started, start) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let occupies = |_: Turn| async move {
            let _ = started.send(());
            let _ = ended.await;
            Ok(())
        };
        let tenants = tenants();
        let mut occupied = Box::pin(queries.run(&tenants, Duration::ZERO, occupies));
        assert!((&mut occupied).now_or_never().is_none());
        start.await.expect("the first occupies the only place");
        let never = |_: Turn| async { panic!("there is no place for this") };
        let error = queries.run::<(), _, _>(&tenants, Duration::from_millis(1), never).await.expect_err("too late");
        assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
        drop(end);
        assert_eq!(occupied.await, Ok(()));
        assert_eq!(queries.run(&tenants, Duration::ZERO, |_| async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn work_ends_when_its_client_goes_away() {
        let (started, start) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let work = move |turn: Turn| async move {
            let _ = started.send(());
            until_cancelled(&turn);
            let _ = ended.send(());
            Ok(())
        };
        let (queries, tenants) = (queries(), tenants());
        let mut answer = Box::pin(queries.run(&tenants, Duration::ZERO, work));
        assert!((&mut answer).now_or_never().is_none());
        start.await.expect("the work started");
        drop(answer);
        end.await.expect("the work ended");
    }

    #[tokio::test]
    async fn work_that_looks_at_no_token_ends_where_it_waits() {
        let (started, start) = oneshot::channel();
        let (held, end) = oneshot::channel::<()>();
        let work = move |_: Turn| async move {
            let _held = held;
            let _ = started.send(());
            std::future::pending::<Result<(), ApiError>>().await
        };
        let (queries, tenants) = (queries(), tenants());
        let mut answer = Box::pin(queries.run(&tenants, Duration::ZERO, work));
        assert!((&mut answer).now_or_never().is_none());
        start.await.expect("the work started");
        drop(answer);
        end.await.expect_err("what the work held was dropped");
    }

    #[tokio::test]
    async fn work_that_panics_fails_its_request_alone() {
        let queries = queries();
        let panics = |_: Turn| async { panic!("on purpose") };
        let error = queries.run::<(), _, _>(&tenants(), Duration::ZERO, panics).await.expect_err("a panic");
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let answer = queries.run(&tenants(), Duration::ZERO, |_| async { Ok(7) }).await;
        assert_eq!(answer, Ok(7));
    }
}
