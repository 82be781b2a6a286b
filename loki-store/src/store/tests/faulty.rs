//! An object store that fails when it is told to.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has no effect.
    Refused,
    /// It has no effect because there is no room. Only puts need room.
    NoSpace,
    /// It has its effect, but the answer is lost.
    AnswerLost,
    /// It fails, and has its effect only when some other puts were made. Only puts can be late.
    Late,
}

/// Puts after which one that was late has its effect.
const LATE_BY: usize = 2;

/// Passes everything on to another store; counts operations, and fails some.
#[derive(Clone, Debug)]
pub(super) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    puts: u64,
    operations: u64,
    fail_at: Option<(u64, Fault)>,
    fail_at_operation: Option<(u64, Fault)>,
    fail_from_operation: Option<u64>,
    fail_every: Option<Fault>,
    late: Vec<LatePut>,
}

#[derive(Debug)]
struct LatePut {
    location: Path,
    payload: PutPayload,
    options: PutOptions,
    puts_to_wait: usize,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Puts so far.
    pub(super) fn puts(&self) -> u64 {
        self.state.lock().puts
    }

    /// Makes put number `put`, counted from zero, fail.
    pub(super) fn fail_at(&self, put: u64, fault: Fault) {
        self.state.lock().fail_at = Some((put, fault));
    }

    /// Operations of any kind so far.
    pub(super) fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Makes operation number `operation`, counted from zero, fail.
    pub(super) fn fail_at_operation(&self, operation: u64, fault: Fault) {
        self.state.lock().fail_at_operation = Some((operation, fault));
    }

    /// Makes every operation fail from this one on, as for a process that is dead.
    pub(super) fn fail_from_operation(&self, operation: u64) {
        self.state.lock().fail_from_operation = Some(operation);
    }

    pub(super) fn fail_every(&self, fault: Fault) {
        self.state.lock().fail_every = Some(fault);
    }

    pub(super) fn fail_none(&self) {
        *self.state.lock() = State::default();
    }

    fn next_put(&self) -> Option<Fault> {
        let fault = self.next_operation();
        let mut state = self.state.lock();
        let put = state.puts;
        state.puts += 1;
        fault.or(state.fail_at.filter(|(at, _)| *at == put).map(|(_, fault)| fault)).or(state.fail_every)
    }

    /// For an operation that is no put: whether it fails.
    fn next_operation(&self) -> Option<Fault> {
        let mut state = self.state.lock();
        let operation = state.operations;
        state.operations += 1;
        let dead = state.fail_from_operation.filter(|from| operation >= *from).map(|_| Fault::Refused);
        dead.or(state.fail_at_operation.filter(|(at, _)| *at == operation).map(|(_, fault)| fault))
    }

    fn check_operation(&self) -> Result<()> {
        // What is not a put fails in one way only.
        self.next_operation().map_or(Ok(()), |_| Err(unavailable()))
    }

    /// Lets puts that were late have their effect, if their time has come.
    async fn deliver_late(&self) {
        let due: Vec<LatePut> = {
            let mut state = self.state.lock();
            for put in &mut state.late {
                put.puts_to_wait -= 1;
            }
            let (due, waiting) = std::mem::take(&mut state.late).into_iter().partition(|put| put.puts_to_wait == 0);
            state.late = waiting;
            due
        };
        for put in due {
            // Nobody hears the answer.
            let _ = self.inner.put_opts(&put.location, put.payload, put.options).await;
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

fn full() -> object_store::Error {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    object_store::Error::Generic { store: "faulty", source: Box::new(source) }
}

fn unavailable() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "503 as told".into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.next_put();
        self.deliver_late().await;
        match fault {
            None => self.inner.put_opts(location, payload, options).await,
            Some(Fault::Refused) => Err(unavailable()),
            Some(Fault::NoSpace) => Err(full()),
            Some(Fault::Late) => {
                let put = LatePut { location: location.clone(), payload, options, puts_to_wait: LATE_BY };
                self.state.lock().late.push(put);
                Err(unavailable())
            }
            Some(Fault::AnswerLost) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(unavailable())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check_operation()?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.next_operation() {
            None => self.inner.delete_stream(locations),
            Some(Fault::AnswerLost) => {
                let deleted = self.inner.delete_stream(locations);
                deleted.map(|result| result.and_then(|_| Err(unavailable()))).boxed()
            }
            Some(_) => locations.map(|_| Err(unavailable())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_operation() {
            return futures::stream::once(async move { Err(error) }).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
