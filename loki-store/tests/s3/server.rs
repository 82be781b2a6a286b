//! An S3 server in this process, over a temporary folder, that fails when it is told to.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, RANGE};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use loki_store::bucket::{Bucket, Connection, S3Bucket, S3Keys, Secret};
use object_store::ObjectStore;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

const BUCKET: &str = "logs";
const ACCESS_KEY: &str = "access";
const SECRET_KEY: &str = "secret";

/// Serves one empty bucket until it is dropped with its runtime.
#[derive(Debug)]
pub(crate) struct S3Server {
    address: SocketAddr,
    folder: TempDir,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Holds the bucket as a folder.
    root: PathBuf,
    next_segment_fault: Mutex<Option<Fault>>,
    ignores_conditions: AtomicBool,
    requests: Mutex<Vec<Seen>>,
}

/// What happens to a request that creates a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It has its effect, but the connection ends before the answer.
    AnswerLost,
    /// It has no effect, because of a request of somebody else that S3 has not decided on.
    Conflict,
    /// It has no effect, because there is too much to do.
    SlowDown,
}

/// A request that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// The connection is to end.
#[derive(Debug)]
struct Cut;

impl S3Server {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("a folder that exists"));
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            root: folder.path().to_owned(),
            next_segment_fault: Mutex::default(),
            ignores_conditions: AtomicBool::default(),
            requests: Mutex::default(),
        });
        tokio::spawn(accept(listener, service.build(), Arc::clone(&state)));
        Self { address, folder, state }
    }

    /// Where the server listens, as a URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bucket, with credentials that the server checks.
    pub(crate) fn bucket(&self) -> S3Bucket {
        let keys = S3Keys {
            access_key_id: ACCESS_KEY.into(),
            secret_access_key: Secret::new(SECRET_KEY),
            session_token: None,
        };
        S3Bucket { endpoint: self.endpoint(), keys: Some(keys), ..S3Bucket::named(BUCKET) }
    }

    /// The bucket, opened with retries that come at once.
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        let pause = Duration::from_millis(1);
        let connection = Connection { first_pause: pause, max_pause: pause, ..Connection::default() };
        Bucket::S3(self.bucket()).open(&connection).expect("the settings work")
    }

    /// Where the objects lie, as files.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Lets the next request that creates a segment fail.
    pub(crate) fn fail_next_segment(&self, fault: Fault) {
        *self.state.next_segment_fault.lock().expect("no panic") = Some(fault);
    }

    /// From now on objects are overwritten whatever a request says, as by servers from before put-if-absent.
    pub(crate) fn ignore_conditions(&self) {
        self.state.ignores_conditions.store(true, Ordering::Relaxed);
    }

    /// The requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.requests.lock().expect("no panic"))
    }
}

impl Seen {
    pub(crate) fn is_ranged(&self) -> bool {
        self.headers.contains_key(RANGE)
    }

    pub(crate) fn is_of_segment(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "seg")
    }
}

async fn accept(listener: TcpListener, service: S3Service, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, service.clone(), Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, service: S3Service, state: Arc<State>) {
    let answers = service_fn(|request| answer(request, &service, &state));
    // It ends with an error when the client or a fault cuts it.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answers).await;
}

async fn answer(request: Request<Incoming>, service: &S3Service, state: &State) -> Result<Response<s3s::Body>, Cut> {
    let seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        headers: request.headers().clone(),
    };
    let creates = seen.method == Method::PUT;
    let creates_segment = creates && seen.is_of_segment();
    if creates && state.ignores_conditions.load(Ordering::Relaxed) {
        // The condition is part of what is signed, so it is its object that must go. Often there is none.
        let _ = std::fs::remove_file(state.root.join(seen.path.trim_start_matches('/')));
    }
    state.requests.lock().expect("no panic").push(seen);
    let fault = creates_segment.then(|| state.next_segment_fault.lock().expect("no panic").take()).flatten();
    match fault {
        None => Ok(call(service, request).await),
        Some(Fault::AnswerLost) => {
            let applied = call(service, request).await;
            assert_eq!(applied.status(), StatusCode::OK);
            Err(Cut)
        }
        Some(Fault::Conflict) => Ok(refusal(StatusCode::CONFLICT, "ConditionalRequestConflict")),
        Some(Fault::SlowDown) => Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
    }
}

async fn call(service: &S3Service, request: Request<Incoming>) -> Response<s3s::Body> {
    let answered: Result<_, _> = Service::call(service, request).await;
    answered.expect("the file system answers")
}

fn refusal(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let body = format!("<Error><Code>{code}</Code></Error>");
    let mut response = Response::new(s3s::Body::from(body));
    *response.status_mut() = status;
    response
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}
