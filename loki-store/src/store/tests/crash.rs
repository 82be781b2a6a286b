//! A crash or a failure at every operation on the log and on the objects.
//!
//! A first pass counts the operations of a scenario, the others let it fail at each in turn. Whatever happens, after
//! reopening every acknowledged entry is there once, and nothing is there that was not pushed.

use futures::StreamExt;

use super::faulty::{Fault as ObjectFault, FaultyStore};
use super::*;
use crate::deletes::{DeleteRequest, DeleteStatus};
use crate::wal::{Fault as FileFault, Survival};

/// All that can happen to a request to an object store.
const FAULTS: [ObjectFault; 7] = [
    ObjectFault::Refused,
    ObjectFault::AnswerLost,
    ObjectFault::NoSpace,
    ObjectFault::Late,
    ObjectFault::Twice,
    ObjectFault::Again,
    ObjectFault::Missing,
];

/// What a client knows after a scenario.
#[derive(Default)]
struct Ledger {
    pushed: HashSet<Stored>,
    acknowledged: HashSet<Stored>,
}

impl Ledger {
    async fn push(&mut self, store: &Store, stream: u8, entries: Vec<Entry>) {
        let labels = stream_labels(stream);
        let sent: Vec<_> = entries.iter().map(|entry| stored(&labels, entry)).collect();
        self.pushed.extend(sent.iter().cloned());
        if push(store, stream, entries).await.is_ok() {
            self.acknowledged.extend(sent);
        }
    }

    /// Entries that are to go, whether by retention or on request.
    fn forget(&mut self, must_go: impl Fn(&Stored) -> bool) {
        self.pushed.retain(|entry| !must_go(entry));
        self.acknowledged.retain(|entry| !must_go(entry));
    }

    async fn check(&self, store: &Store, what: &str) {
        let found = everything(store).await;
        let distinct: HashSet<_> = found.iter().cloned().collect();
        assert_eq!(found.len(), distinct.len(), "{what}: entries are there twice");
        let lost: Vec<_> = self.acknowledged.difference(&distinct).collect();
        assert!(lost.is_empty(), "{what}: lost {lost:?}");
        let invented: Vec<_> = distinct.difference(&self.pushed).collect();
        assert!(invented.is_empty(), "{what}: invented {invented:?}");
    }
}

/// Pushes, flushes, retries; goes on after failures, as clients and a scheduler do.
async fn scenario(machine: &Machine, ledger: &mut Ledger) {
    let Ok(store) = machine.open().await else {
        return;
    };
    for round in 0..3 {
        ledger.push(&store, 1, vec![entry(round * 10, "first", None), entry(round * 10, "tied", Some("t"))]).await;
        ledger.push(&store, 2, vec![entry(round * 10 + 5, "second", None)]).await;
        let _ = store.flush().await;
        ledger.push(&store, 1, vec![entry(round, "late", None)]).await;
        // A client that repeats itself.
        ledger.push(&store, 2, vec![entry(round * 10 + 5, "second", None)]).await;
        let _ = store.compact().await;
    }
    let _ = store.maintain().await;
}

#[tokio::test]
async fn a_crash_at_any_log_operation_loses_nothing_acknowledged() {
    let machine = Machine::new();
    scenario(&machine, &mut Ledger::default()).await;
    let operations = machine.files.operations();
    assert!(operations > 20, "the scenario exercises the log: {operations}");
    let faults = [FileFault::CrashBefore, FileFault::CrashAfter, FileFault::NoSpace(5), FileFault::Io];
    let survivals = [Survival::Durable, Survival::Everything, Survival::Torn(7)];
    for operation in 0..operations {
        for fault in faults {
            for survival in survivals {
                let what = format!("{fault:?} at log operation {operation}, {survival:?} survives");
                let machine = Machine::new();
                machine.files.fail_at(operation, fault);
                let mut ledger = Ledger::default();
                scenario(&machine, &mut ledger).await;

                let machine = Machine { files: machine.files.reboot(survival), ..machine };
                let store = machine.open().await.unwrap();
                ledger.check(&store, &what).await;
                ledger.push(&store, 3, vec![entry(1, "after", None)]).await;
                store.flush().await.unwrap();
                ledger.check(&store, &what).await;
                drop(store);
                ledger.check(&machine.open().await.unwrap(), &what).await;
            }
        }
    }
}

#[tokio::test]
async fn a_failure_at_any_put_loses_nothing_and_a_lost_answer_is_recognised() {
    let faulty = |objects: &Machine| FaultyStore::new(Arc::clone(&objects.objects));
    let machine = Machine::new();
    let counter = faulty(&machine);
    scenario(&Machine { objects: Arc::new(counter.clone()), ..machine }, &mut Ledger::default()).await;
    let puts = counter.puts();
    assert!(puts >= 12, "the scenario writes segments, merges them, and publishes manifests: {puts}");
    for put in 0..puts {
        for fault in FAULTS {
            let what = format!("{fault:?} at put {put}");
            let machine = Machine::new();
            let store = faulty(&machine);
            store.fail_at(put, fault);
            let failing = Machine { objects: Arc::new(store), ..machine.clone() };
            let mut ledger = Ledger::default();
            scenario(&failing, &mut ledger).await;
            assert_eq!(ledger.acknowledged, ledger.pushed, "{what}: a failed flush does not concern a push");

            let files = machine.files.reboot(Survival::Durable);
            let store = Machine { files, ..machine }.open().await.unwrap();
            ledger.check(&store, &what).await;
            store.flush().await.unwrap();
            ledger.check(&store, &what).await;
        }
    }
}

/// What is done while faults happen.
#[derive(Clone, Copy, Debug)]
enum Work {
    /// Merging flushed segments, and then days.
    Compaction,
    /// Retention, requests to delete entries, merging, and deleting what was replaced.
    Maintenance,
}

impl Work {
    fn config(self, machine: &Machine) -> StoreConfig {
        let expiring = crate::RetentionStream {
            matchers: vec![Matcher::new("stream", MatchOp::Equal, "s2").unwrap()],
            priority: 1,
            period: Duration::from_hours(24),
        };
        let limits = Limits { retention_streams: vec![expiring], ..verbatim_limits() };
        let retention_enabled = matches!(self, Self::Maintenance);
        StoreConfig { retention_enabled, ..machine.config().with_limits(limits) }
    }

    /// Some flushed segments with overlaps, ready to be worked on.
    async fn prepare(self, machine: &Machine, ledger: &mut Ledger) -> Store {
        let store = machine.open_with(self.config(machine)).await.unwrap();
        for round in 0..4 {
            let entries = |n| (0..8).map(|i| entry(round * 5 + i, &format!("line {} of {n}", i % 3), None)).collect();
            ledger.push(&store, 1, entries(1)).await;
            ledger.push(&store, 2, entries(2)).await;
            ledger.push(&store, 3, vec![entry(100_000 + round, "another day", None)]).await;
            store.flush().await.unwrap();
        }
        if matches!(self, Self::Maintenance) {
            store.compact().await.unwrap();
            ledger.push(&store, 1, vec![entry(3, "line 1 in memory", None)]).await;
            let range = TimeRange::new(Timestamp(0), Timestamp::from_seconds(500));
            let request = DeleteRequest { query: r#"{stream="s1"} |= "line 1""#.to_owned(), range };
            store.delete(&tenant(), request).await.unwrap();
            machine.clock.advance(Duration::from_hours(30));
            ledger.forget(|entry| match entry.labels.get("stream") {
                Some("s1") => entry.line.starts_with(b"line 1"),
                stream => stream == Some("s2"),
            });
        }
        store
    }

    /// Whether all of it succeeded.
    async fn carry_out(self, machine: &Machine, store: &Store) -> bool {
        match self {
            Self::Compaction => store.compact().await.is_ok(),
            Self::Maintenance => {
                let mut is_ok = true;
                for _ in 0..5 {
                    machine.clock.advance(Duration::from_hours(1));
                    is_ok &= store.maintain().await.is_ok();
                }
                is_ok
            }
        }
    }
}

/// Lets the store recover and looks for what must not be there in the end.
async fn settle(machine: &Machine, store: &Store, ledger: &Ledger, what: &str) {
    ledger.check(store, what).await;
    store.compact().await.unwrap();
    ledger.check(store, what).await;
    // A merge may have left objects; they are noticed, and deleted when they are still there later.
    for _ in 0..4 {
        machine.clock.advance(Duration::from_hours(2));
        store.maintain().await.unwrap();
    }
    ledger.check(store, what).await;
    let is_open = |delete: &crate::AcceptedDelete| delete.status != DeleteStatus::Processed;
    assert!(!store.deletes(&tenant()).iter().any(is_open), "{what}: requests are carried out in the end");
    let found = machine.objects.list(Some(&ObjectPath::from("data"))).map(|object| object.unwrap().location);
    let found: Vec<_> = found.collect().await;
    let segments = found.iter().filter(|path| path.extension() == Some("seg")).count();
    assert_eq!(segments, store.segment_count(), "{what}: orphans remain: {found:?}");
}

/// Lets every operation of some work fail in turn, and goes on.
async fn fail_everywhere(work: Work) {
    let operations = {
        let machine = Machine::new();
        let faulty = FaultyStore::new(Arc::clone(&machine.objects));
        let machine = Machine { objects: Arc::new(faulty.clone()), ..machine };
        let store = work.prepare(&machine, &mut Ledger::default()).await;
        let first = faulty.operations();
        assert!(work.carry_out(&machine, &store).await);
        assert!(store.counters().merges.value() >= 1);
        first..faulty.operations()
    };
    assert!(operations.clone().count() > 12, "{operations:?}");
    for operation in operations {
        for fault in FAULTS {
            let what = format!("{work:?}: {fault:?} at operation {operation}");
            let machine = Machine::new();
            let faulty = FaultyStore::new(Arc::clone(&machine.objects));
            let machine = Machine { objects: Arc::new(faulty.clone()), ..machine };
            let mut ledger = Ledger::default();
            let store = work.prepare(&machine, &mut ledger).await;
            faulty.fail_at_operation(operation, fault);
            work.carry_out(&machine, &store).await;
            settle(&machine, &store, &ledger, &what).await;
            drop(store);
            let store = machine.open_with(work.config(&machine)).await.unwrap();
            settle(&machine, &store, &ledger, &format!("{what}, reopened")).await;
        }
    }
}

/// Lets the process die at every operation of some work in turn, and opens the store again.
async fn crash_everywhere(work: Work) {
    for lost_answer in [false, true] {
        let mut operation = None;
        loop {
            let machine = Machine::new();
            let faulty = FaultyStore::new(Arc::clone(&machine.objects));
            let failing = Machine { objects: Arc::new(faulty.clone()), ..machine.clone() };
            let mut ledger = Ledger::default();
            let store = work.prepare(&failing, &mut ledger).await;
            let crash_at = *operation.get_or_insert(faulty.operations());
            if lost_answer {
                faulty.fail_at_operation(crash_at, ObjectFault::AnswerLost);
                faulty.fail_from_operation(crash_at + 1);
            } else {
                faulty.fail_from_operation(crash_at);
            }
            let is_over = work.carry_out(&failing, &store).await;
            drop(store);

            let what = format!("{work:?}: crash at operation {crash_at}, answer lost: {lost_answer}");
            let machine = Machine { files: machine.files.reboot(Survival::Durable), ..machine };
            let store = machine.open_with(work.config(&machine)).await.unwrap();
            settle(&machine, &store, &ledger, &what).await;
            if is_over {
                break;
            }
            operation = Some(crash_at + 1);
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_operation_of_a_compaction_loses_nothing_and_doubles_nothing() {
    fail_everywhere(Work::Compaction).await;
}

#[tokio::test]
async fn a_crash_at_any_operation_of_a_compaction_loses_nothing_and_doubles_nothing() {
    crash_everywhere(Work::Compaction).await;
}

#[tokio::test]
async fn a_fault_at_any_operation_of_maintenance_loses_nothing_and_keeps_nothing_that_must_go() {
    fail_everywhere(Work::Maintenance).await;
}

#[tokio::test]
async fn a_crash_at_any_operation_of_maintenance_loses_nothing_and_keeps_nothing_that_must_go() {
    crash_everywhere(Work::Maintenance).await;
}

#[tokio::test]
async fn a_fault_at_any_operation_of_opening_loses_nothing() {
    let work = Work::Maintenance;
    let mut operation = None;
    'operations: loop {
        for fault in FAULTS {
            let machine = Machine::new();
            let faulty = FaultyStore::new(Arc::clone(&machine.objects));
            let machine = Machine { objects: Arc::new(faulty.clone()), ..machine };
            let mut ledger = Ledger::default();
            drop(work.prepare(&machine, &mut ledger).await);
            let first = faulty.operations();
            let operation = *operation.get_or_insert(first);
            faulty.fail_at_operation(operation, fault);
            let what = format!("{fault:?} at operation {operation} of opening");
            let opened = machine.open_with(work.config(&machine)).await;
            let is_over = faulty.operations() <= operation;
            faulty.fail_none();
            if let Ok(store) = opened {
                ledger.check(&store, &what).await;
                // What is not known must not be forgotten by what is published.
                store.compact().await.unwrap();
                drop(store);
            }
            let store = machine.open_with(work.config(&machine)).await.unwrap();
            settle(&machine, &store, &ledger, &format!("{what}, opened again")).await;
            if is_over {
                break 'operations;
            }
        }
        operation = operation.map(|operation| operation + 1);
    }
}

#[tokio::test]
async fn a_store_opens_on_a_full_disk_and_recovers() {
    for fault in [ObjectFault::NoSpace, ObjectFault::Refused] {
        let machine = Machine::new();
        let faulty = FaultyStore::new(Arc::clone(&machine.objects));
        let machine = Machine { objects: Arc::new(faulty.clone()), ..machine };
        let mut ledger = Ledger::default();
        let store = machine.open().await.unwrap();
        for round in 0..20 {
            ledger.push(&store, 1, vec![entry(round, "what the log holds", None)]).await;
        }
        drop(store);
        faulty.fail_every(fault);
        let config = StoreConfig { flush_bytes: 1, ..machine.config() };
        let store = machine.open_with(config).await.unwrap();
        ledger.check(&store, &format!("{fault:?}")).await;
        faulty.fail_none();
        store.maintain().await.unwrap();
        assert_eq!((store.counters().segments_flushed.value(), store.pending_flushes()), (1, 0));
        ledger.check(&store, &format!("after {fault:?}")).await;
    }
}
