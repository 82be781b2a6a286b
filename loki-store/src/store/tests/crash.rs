//! A crash or a failure at every operation on the log and on the objects.
//!
//! A first pass counts the operations of a scenario, the others let it fail at each in turn. Whatever happens, after
//! reopening every acknowledged entry is there once, and nothing is there that was not pushed.

use super::faulty::{Fault as ObjectFault, FaultyStore};
use super::*;
use crate::wal::{Fault as FileFault, Survival};

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
    assert!(puts >= 3, "the scenario writes segments: {puts}");
    for put in 0..puts {
        for fault in [ObjectFault::Refused, ObjectFault::AnswerLost] {
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
