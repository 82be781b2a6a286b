//! An object store that fails when it is told to.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
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
    /// It is carried out twice, as if a network had sent it twice, and the second one is answered. Reads are not
    /// affected.
    Twice,
    /// It succeeds, and is carried out once more when some other puts were made. Only puts are affected.
    Again,
    /// What it names is said not to be there. Only reads are affected.
    Missing,
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

    /// For a read: whether it fails, and how.
    fn check_read(&self, location: Option<&Path>) -> Result<()> {
        match (self.next_operation(), location) {
            (None | Some(Fault::Twice | Fault::Again), _) | (Some(Fault::Missing), None) => Ok(()),
            (Some(Fault::Missing), Some(path)) => {
                Err(object_store::Error::NotFound { path: path.to_string(), source: "404 as told".into() })
            }
            (Some(_), _) => Err(unavailable()),
        }
    }

    fn put_later(&self, location: &Path, payload: PutPayload, options: PutOptions) {
        let put = LatePut { location: location.clone(), payload, options, puts_to_wait: LATE_BY };
        self.state.lock().late.push(put);
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
            None | Some(Fault::Missing) => self.inner.put_opts(location, payload, options).await,
            Some(Fault::Refused) => Err(unavailable()),
            Some(Fault::NoSpace) => Err(full()),
            Some(Fault::Late) => {
                self.put_later(location, payload, options);
                Err(unavailable())
            }
            Some(Fault::Again) => {
                self.put_later(location, payload.clone(), options.clone());
                self.inner.put_opts(location, payload, options).await
            }
            Some(Fault::Twice) => {
                self.inner.put_opts(location, payload.clone(), options.clone()).await?;
                self.inner.put_opts(location, payload, options).await
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
        self.check_read(Some(location))?;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.next_operation() {
            None | Some(Fault::Again | Fault::Missing) => self.inner.delete_stream(locations),
            Some(Fault::Twice) => {
                let inner = Arc::clone(&self.inner);
                let delete = move |location: Result<Path>| {
                    let inner = Arc::clone(&inner);
                    async move {
                        let location = location?;
                        inner.delete(&location).await?;
                        inner.delete(&location).await?;
                        Ok(location)
                    }
                };
                locations.then(delete).boxed()
            }
            Some(Fault::AnswerLost) => {
                let deleted = self.inner.delete_stream(locations);
                deleted.map(|result| result.and_then(|_| Err(unavailable()))).boxed()
            }
            Some(_) => locations.map(|_| Err(unavailable())).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(error) = self.check_read(None) {
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
