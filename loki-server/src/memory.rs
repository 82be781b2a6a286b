//! How much memory the process may take, and who may take which part of it.
//!
//! `loki_store.memory.max_bytes` bounds the whole process. A fifth of it is left for what nobody counts: the program,
//! connections, decoded chunks on their way through a query, and what the allocator keeps. The rest is divided into
//! shares that do not overlap, so that pushes find room whatever queries do. The keys for single purposes, such as
//! `loki_store.head_max_bytes`, stay: the lesser counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use loki_logql::budget::{Budget, BudgetScope, Reservation};

use crate::config::Config;
use crate::{allocator, process};

/// The part of the machine's or container's memory that is used unless the configuration says otherwise.
const DEFAULT_PERCENT: u64 = 60;
/// The parts, in hundredths of all memory. What is missing is counted nowhere.
const HEADS_PERCENT: u64 = 20;
const QUERIES_PERCENT: u64 = 35;
const MERGES_PERCENT: u64 = 15;
const CACHE_PERCENT: u64 = 6;
const BODIES_PERCENT: u64 = 4;
/// Heads are flushed at this part of their share, so that one is filled while another is written.
const FLUSH_PERCENT: u64 = 40;
/// The most that a tenant's queries take of the memory of all, where there are several tenants.
const TENANT_PERCENT: u64 = 75;
/// The most that one query takes of the memory of all.
const QUERY_PERCENT: u64 = 50;

/// Who may take how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "every name ends in its unit")]
pub(crate) struct Shares {
    /// All that is counted.
    pub(crate) counted_bytes: u64,
    /// Entries awaiting flush, and at what size they are flushed.
    pub(crate) head_max_bytes: u64,
    pub(crate) flush_bytes: u64,
    /// Merging segments.
    pub(crate) merge_bytes: u64,
    /// Parts of segments kept for queries.
    pub(crate) cache_bytes: u64,
    /// Bodies of push requests.
    pub(crate) body_bytes: u64,
    /// All queries, those of one tenant, and one of them.
    pub(crate) query_bytes: u64,
    pub(crate) tenant_bytes: u64,
    pub(crate) one_query_bytes: u64,
}

/// How often the process's memory is looked at, at most; and how long not after giving back did not help.
const RELIEF_NANOS: u64 = 200_000_000;
const VAIN_RELIEF_NANOS: u64 = 10_000_000_000;

/// Gives memory back that the allocator keeps, when the process comes near its bound.
#[derive(Debug)]
pub(crate) struct Relief {
    process: Budget,
    /// When somebody may look next.
    next_nanos: AtomicU64,
}

/// The budgets of a process.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) shares: Shares,
    /// Everything that is counted.
    pub(crate) process: Budget,
    /// What is set aside whether or not it is used: the cache, and bodies.
    _set_aside: Reservation,
}

impl Shares {
    /// The shares that a configuration asks for, on a machine with so much memory if that is known.
    pub(crate) fn of(config: &Config, machine_bytes: Option<u64>) -> Self {
        let of_machine = || machine_bytes.map(|bytes| percent(bytes, DEFAULT_PERCENT));
        let max_bytes = config.memory_max_bytes.or_else(of_machine).unwrap_or(u64::MAX);
        let head_max_bytes = config.data.head_max_bytes.min(percent(max_bytes, HEADS_PERCENT));
        let query_bytes = (config.query.memory_bytes as u64).min(percent(max_bytes, QUERIES_PERCENT));
        let tenant_percent = if config.auth_enabled { TENANT_PERCENT } else { 100 };
        let counted = HEADS_PERCENT + QUERIES_PERCENT + MERGES_PERCENT + CACHE_PERCENT + BODIES_PERCENT;
        Self {
            counted_bytes: percent(max_bytes, counted),
            head_max_bytes,
            flush_bytes: config.data.flush_bytes.min(percent(head_max_bytes, FLUSH_PERCENT)),
            merge_bytes: config.data.merge_memory_bytes.min(percent(max_bytes, MERGES_PERCENT)),
            cache_bytes: config.data.cache_bytes.min(percent(max_bytes, CACHE_PERCENT)),
            body_bytes: (config.push.memory_bytes as u64).min(percent(max_bytes, BODIES_PERCENT)),
            query_bytes,
            tenant_bytes: percent(query_bytes, tenant_percent),
            one_query_bytes: percent(query_bytes, QUERY_PERCENT),
        }
    }
}

impl Memory {
    /// The budgets for a configuration on this machine.
    pub(crate) fn new(config: &Config) -> Self {
        let shares = Shares::of(config, machine_bytes(Path::new("/")));
        let process = Budget::new(BudgetScope::Process, shares.counted_bytes);
        let mut set_aside = process.reservation();
        set_aside.hold(shares.cache_bytes + shares.body_bytes);
        Self { shares, process, _set_aside: set_aside }
    }
}

impl Relief {
    /// Of a process with this budget.
    pub(crate) const fn new(process: Budget) -> Self {
        Self { process, next_nanos: AtomicU64::new(0) }
    }

    /// Looks whether it is time, unless somebody did a moment ago. May block the thread for some milliseconds.
    pub(crate) fn look(&self, now_nanos: u64) {
        let next = self.next_nanos.load(Ordering::Relaxed);
        let after = now_nanos.saturating_add(RELIEF_NANOS);
        let is_my_turn = || self.next_nanos.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now_nanos >= next && is_my_turn() && self.is_due() {
            allocator::give_back();
            if self.is_due() {
                self.next_nanos.store(now_nanos.saturating_add(VAIN_RELIEF_NANOS), Ordering::Relaxed);
            }
        }
    }

    fn is_due(&self) -> bool {
        let resident = process::resident_bytes().unwrap_or_default();
        is_due(resident, self.process.used_bytes(), self.process.limit_bytes())
    }
}

/// Whether a process takes more than is counted at most, a good part of which nobody accounts for.
fn is_due(resident: u64, used: u64, limit: u64) -> bool {
    resident > limit && resident.saturating_sub(used) > limit / 4
}

fn percent(bytes: u64, percent: u64) -> u64 {
    (u128::from(bytes) * u128::from(percent) / 100) as u64
}

/// What this process may take at most: the machine's memory, or the limit of a container if that is less. `root` is the
/// root of the file system.
fn machine_bytes(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok();
    let total = meminfo.as_deref().and_then(|text| process::kibibytes(text, "MemTotal:")?.checked_mul(1024));
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let (folder, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            "memory" => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        limits_of_group(&root.join(folder), Path::new(group.trim_start_matches('/')), file)
    });
    limits.chain(total).min()
}

/// The limits of a control group and of those around it. Inside a container its own group is the root.
fn limits_of_group(folder: &Path, group: &Path, file: &str) -> Vec<u64> {
    let files = group.ancestors().map(|group| -> PathBuf { folder.join(group).join(file) });
    // A group without a limit says "max", or a number larger than any machine.
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_near_the_bound_and_only_if_there_is_some() {
        assert!(!is_due(100, 0, 100));
        assert!(is_due(101, 0, 100));
        assert!(is_due(101, 75, 100));
        assert!(!is_due(101, 76, 100), "it is in use");
        assert!(!is_due(10, 101, 100));
    }

    const MB: u64 = 1 << 20;

    fn shares(yaml: &str, machine_bytes: Option<u64>) -> Shares {
        Shares::of(&Config::from_yaml(yaml).expect("valid"), machine_bytes)
    }

    fn together(shares: &Shares) -> u64 {
        let Shares { head_max_bytes, merge_bytes, cache_bytes, body_bytes, query_bytes, .. } = *shares;
        head_max_bytes + merge_bytes + cache_bytes + body_bytes + query_bytes
    }

    #[test]
    fn shares_fit_into_what_is_counted_and_leave_a_fifth() {
        for megabytes in [1, 50, 200, 1000, 100_000] {
            let shares = shares(&format!("loki_store: {{memory: {{max_bytes: {megabytes}MB}}}}\n"), None);
            assert!(together(&shares) <= shares.counted_bytes, "{shares:?}");
            assert_eq!(shares.counted_bytes, megabytes * MB * 80 / 100);
            assert!(shares.flush_bytes <= shares.head_max_bytes / 2);
            assert!(shares.one_query_bytes < shares.tenant_bytes && shares.tenant_bytes < shares.query_bytes);
        }
    }

    #[test]
    fn single_purposes_keep_their_own_limits() {
        let wide = shares("auth_enabled: false\n", Some(1 << 40));
        assert_eq!((wide.head_max_bytes, wide.flush_bytes, wide.cache_bytes), (160 * MB, 64 * MB, 64 * MB));
        assert_eq!((wide.query_bytes, wide.tenant_bytes, wide.merge_bytes), (512 * MB, 512 * MB, 160 * MB));
        let narrow = shares("loki_store: {head_max_bytes: 8MB, memory: {max_bytes: 100MB}}\n", None);
        assert_eq!((narrow.head_max_bytes, narrow.query_bytes), (8 * MB, 35 * MB));
    }

    #[test]
    fn the_machine_counts_where_nothing_is_configured() {
        assert_eq!(shares("auth_enabled: false\n", Some(1000 * MB)).counted_bytes, 480 * MB);
        assert_eq!(shares("loki_store: {memory: {max_bytes: 10MB}}\n", Some(1 << 40)).counted_bytes, 8 * MB);
        let unknown = shares("auth_enabled: false\n", None);
        assert_eq!(unknown.head_max_bytes, 160 * MB);
    }

    fn machine(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("not the root")).expect("writable");
            fs::write(path, text).expect("writable");
        }
        machine_bytes(root.path())
    }

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       2048 kB\nMemFree:        1 kB\n");
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[meminfo]), Some(2 * MB));
        let second = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(machine(&[meminfo, second, ("sys/fs/cgroup/a/b/memory.max", "max\n")]), Some(2 * MB));
        let around = ("sys/fs/cgroup/a/memory.max", "1000\n");
        assert_eq!(machine(&[meminfo, second, ("sys/fs/cgroup/a/b/memory.max", "max\n"), around]), Some(1000));
        let first = ("proc/self/cgroup", "12:cpu:/x\n4:memory:/docker/1\n");
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
        assert_eq!(machine(&[meminfo, first, limit]), Some(4096), "in a container the group is the root");
        let unlimited = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[meminfo, first, unlimited]), Some(2 * MB));
    }
}
