//! Clients that close their side of a connection and still wait for an answer.
//!
//! A client that is gone looks the same as one that only has nothing more to say: what arrives from both is the end of
//! the stream. The HTTP library gives requests up as soon as it sees that, so the end is held back for a while when
//! there are requests that are not answered yet. What takes longer than [`GRACE`] is taken for abandoned, since clients
//! that go away are many and those that only close one side are few and ask for little.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client that closed its side is waited for.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// The requests of a connection whose answers are not handed over yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered(Arc<Requests>);

#[derive(Debug, Default)]
struct Requests {
    count: AtomicUsize,
    /// Whether parts of answers may wait to be written.
    is_unflushed: AtomicBool,
    /// Who holds the end of the stream back.
    reader: AtomicWaker,
}

impl Unanswered {
    /// Counts a request until what this returns is dropped.
    pub(super) fn request(&self) -> Request {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Request(self.clone())
    }

    fn are_none(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    fn is_unflushed(&self) -> bool {
        self.0.is_unflushed.load(Ordering::Acquire)
    }

    fn flushed(&self) {
        if self.0.is_unflushed.swap(false, Ordering::AcqRel) {
            self.0.reader.wake();
        }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Request(Unanswered);

impl Request {
    /// The body of the answer, with which the request ends.
    pub(super) fn answer<B>(self, body: B) -> Answer<B> {
        Answer { body, _request: self }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let Unanswered(requests) = &self.0;
        requests.is_unflushed.store(true, Ordering::Release);
        requests.count.fetch_sub(1, Ordering::AcqRel);
        requests.reader.wake();
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    _request: Request,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose end is held back while requests are [`Unanswered`].
#[derive(Debug)]
pub(super) struct HalfClosed<S> {
    stream: S,
    unanswered: Unanswered,
    /// Runs since the end was held back for the first time.
    grace: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl<S> HalfClosed<S> {
    pub(super) fn new(stream: S, unanswered: Unanswered) -> Self {
        Self { stream, unanswered, grace: None, has_ended: false }
    }

    /// Waits until the end may be known. An answer is written out however long that takes: where nobody reads it any
    /// more, writing fails.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unanswered.0.reader.register(cx.waker());
        if self.unanswered.are_none() {
            return if self.unanswered.is_unflushed() { Poll::Pending } else { Poll::Ready(Ok(())) };
        }
        let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
        grace.as_mut().poll(cx).map(Ok)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfClosed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            let had = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
            self.has_ended = buffer.filled().len() == had && buffer.remaining() > 0;
        }
        if self.has_ended { self.poll_end(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfClosed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.unanswered.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;

    /// A connection whose client said one thing and closed its side.
    async fn closed_by_client() -> (HalfClosed<DuplexStream>, DuplexStream, Unanswered) {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(b"request").await.unwrap();
        client.shutdown().await.unwrap();
        let unanswered = Unanswered::default();
        let mut stream = HalfClosed::new(server, unanswered.clone());
        let mut buffer = [0; 7];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"request");
        (stream, client, unanswered)
    }

    #[tokio::test(start_paused = true)]
    async fn without_requests_the_end_comes_at_once() {
        let (mut stream, _client, _) = closed_by_client().await;
        assert_eq!(stream.read_u8().now_or_never().unwrap().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_comes_when_the_answer_is_written() {
        let (mut stream, mut client, unanswered) = closed_by_client().await;
        let request = unanswered.request();
        let answer = request.answer(Full::new(Bytes::from_static(b"answer")));
        let mut buffer = Vec::new();
        assert!(stream.read_to_end(&mut buffer).now_or_never().is_none());
        let answer = answer.collect().await.unwrap().to_bytes();
        stream.write_all(&answer).await.unwrap();
        assert!(stream.read_to_end(&mut buffer).now_or_never().is_none());
        stream.flush().await.unwrap();
        assert_eq!(stream.read_to_end(&mut buffer).now_or_never().unwrap().unwrap(), 0);
        drop(stream);
        client.read_to_end(&mut buffer).await.unwrap();
        assert_eq!(buffer, b"answer");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_wakes_who_waits_for_the_end() {
        let (stream, _client, unanswered) = closed_by_client().await;
        let request = unanswered.request();
        let started = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reading = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
        tokio::time::sleep(GRACE / 2).await;
        drop(request);
        writer.flush().await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 0);
        assert_eq!(started.elapsed(), GRACE / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_get_the_whole_answer() {
        let (mut stream, mut client, unanswered) = closed_by_client().await;
        let answer = [7; 500];
        let request = unanswered.request();
        assert!(stream.read_u8().now_or_never().is_none());
        drop(request);
        let writing = tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let mut rest = Vec::new();
            let write = async {
                writer.write_all(&answer).await?;
                writer.flush().await
            };
            tokio::try_join!(write, reader.read_to_end(&mut rest)).map(|_| ())
        });
        let mut read = Vec::new();
        while read.len() < answer.len() {
            tokio::time::sleep(GRACE).await;
            client.read_buf(&mut read).await.unwrap();
        }
        writing.await.unwrap().unwrap();
        assert_eq!(read, answer);
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_requests_end_with_the_grace() {
        let (mut stream, _client, unanswered) = closed_by_client().await;
        let _request = unanswered.request();
        let started = Instant::now();
        assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        assert_eq!(started.elapsed(), GRACE);
    }
}
