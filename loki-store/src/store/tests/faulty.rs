//! An object store that fails when it is told to.

use std::fmt;
use std::sync::Arc;

use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// How a put fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has no effect.
    Refused,
    /// It has its effect, but the answer is lost.
    AnswerLost,
}

/// Passes everything on to another store; counts puts, and fails some.
#[derive(Clone, Debug)]
pub(super) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    puts: u64,
    fail_at: Option<(u64, Fault)>,
    fail_every: Option<Fault>,
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

    pub(super) fn fail_every(&self, fault: Fault) {
        self.state.lock().fail_every = Some(fault);
    }

    pub(super) fn fail_none(&self) {
        *self.state.lock() = State::default();
    }

    fn next_put(&self) -> Option<Fault> {
        let mut state = self.state.lock();
        let put = state.puts;
        state.puts += 1;
        state.fail_at.filter(|(at, _)| *at == put).map(|(_, fault)| fault).or(state.fail_every)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

fn unavailable() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "503 as told".into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.next_put() {
            None => self.inner.put_opts(location, payload, options).await,
            Some(Fault::Refused) => Err(unavailable()),
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
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
