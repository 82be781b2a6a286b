//! Threads for decoding and scanning: the engine brings jobs, the embedder brings the threads.

use std::fmt;

use futures::TryFutureExt;
use futures::channel::oneshot;
use futures::future::MapErr;

/// A pool of threads for jobs that compute and never wait.
pub trait Workers: Send + Sync + fmt::Debug {
    /// Runs a job, now or soon, on any thread. A pool that shuts down may drop it.
    fn run(&self, job: Job);

    /// How many jobs of one query are worth having under way at once; at least one.
    fn parallelism(&self) -> usize;
}

/// A unit of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs every job at once on the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Workers for Inline {
    fn run(&self, job: Job) {
        job();
    }

    fn parallelism(&self) -> usize {
        1
    }
}

/// A job did not finish: its thread panicked, or the pool shut down before it ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a worker thread of the query was lost")]
pub struct WorkerLost;

/// The answer of a job that was handed to workers.
pub(crate) type Pending<T> = MapErr<oneshot::Receiver<T>, fn(oneshot::Canceled) -> WorkerLost>;

/// Hands `work` to the workers. It starts without the returned future being polled, and is not stopped by dropping it.
pub(crate) fn start<T: Send + 'static>(workers: &dyn Workers, work: impl FnOnce() -> T + Send + 'static) -> Pending<T> {
    let (answer, pending) = oneshot::channel();
    workers.run(Box::new(move || {
        // Nobody waits any more when the query was dropped.
        let _ = answer.send(work());
    }));
    pending.map_err((|oneshot::Canceled| WorkerLost) as fn(oneshot::Canceled) -> WorkerLost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Closed;

    impl Workers for Closed {
        fn run(&self, job: Job) {
            drop(job);
        }

        fn parallelism(&self) -> usize {
            1
        }
    }

    #[test]
    fn inline_jobs_answer_at_once() {
        let answer = futures::executor::block_on(start(&Inline, || 2 + 2));
        assert_eq!(answer, Ok(4));
    }

    #[test]
    fn a_dropped_job_is_reported_as_lost() {
        let answer = futures::executor::block_on(start(&Closed, || 2 + 2));
        assert_eq!(answer, Err(WorkerLost));
    }
}
