//! Threads for decoding and scanning, bounded in number and shared by all queries.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use loki_logql::workers::{Job, Workers};
use parking_lot::{Condvar, Mutex};

/// A fixed number of threads that take jobs in the order in which they come.
///
/// Dropping the pool drops the jobs that did not begin and waits for those that did.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ring: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

impl Pool {
    /// Starts as many threads as there are cores.
    pub(crate) fn start() -> std::io::Result<Self> {
        Self::with_threads(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Starts `count` threads.
    pub(crate) fn with_threads(count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::with_capacity(count);
        for i in 0..count {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("query-{i}"));
            threads.push(thread.spawn(move || shared.work())?);
        }
        Ok(Self { shared, threads })
    }
}

impl Workers for Pool {
    fn run(&self, job: Job) {
        self.shared.queue.lock().jobs.push_back(job);
        self.shared.ring.notify_one();
    }

    fn parallelism(&self) -> usize {
        self.threads.len()
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            // The query that lost its job reports it; the thread goes on with the next one.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            self.ring.wait(&mut queue);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left_over = {
            let mut queue = self.shared.queue.lock();
            queue.is_closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(left_over);
        self.shared.ring.notify_all();
        let own = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // A job may hold the last handle of the server, and a thread cannot wait for itself.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_run_side_by_side() {
        let pool = Pool::with_threads(2).expect("two threads");
        let (to_first, from_second) = mpsc::channel();
        let (to_second, from_first) = mpsc::channel();
        let (done, finished) = mpsc::channel();
        let also_done = done.clone();
        // Each waits for the other, so that neither could finish alone.
        pool.run(Box::new(move || {
            to_second.send(()).expect("the other job waits");
            from_second.recv().expect("the other job answers");
            done.send(()).expect("the test waits");
        }));
        pool.run(Box::new(move || {
            from_first.recv().expect("the other job speaks first");
            to_first.send(()).expect("the other job waits");
            also_done.send(()).expect("the test waits");
        }));
        assert_eq!(finished.iter().count(), 2);
    }

    #[test]
    fn a_panic_costs_one_job() {
        let pool = Pool::with_threads(1).expect("one thread");
        let (done, finished) = mpsc::channel();
        pool.run(Box::new(|| panic!("this job is broken")));
        pool.run(Box::new(move || done.send(7).expect("the test waits")));
        assert_eq!(finished.recv(), Ok(7));
    }

    #[test]
    fn a_dropped_pool_drops_its_jobs() {
        let pool = Pool::with_threads(1).expect("one thread");
        let (hold, held) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        pool.run(Box::new(move || {
            started.send(()).expect("the test waits");
            let _ = held.recv();
        }));
        has_started.recv().expect("the first job runs");
        let (answer, answered) = mpsc::channel::<()>();
        pool.run(Box::new(move || drop(answer)));
        let closer = std::thread::spawn(move || drop(pool));
        assert!(answered.recv().is_err(), "the second job was dropped");
        drop(hold);
        closer.join().expect("the pool closes");
    }
}
