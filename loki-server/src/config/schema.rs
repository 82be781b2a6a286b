//! The table of known keys: names, types, defaults, flags and what becomes of each.
//!
//! The table itself is `keys.txt`. It is read once, on first use; a mistake in it is a bug that every test of this
//! crate finds, so reading it panics rather than fails.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A key of the configuration: a block or a value.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name in YAML.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: Kind,
    /// What becomes of it.
    pub(crate) verdict: Verdict,
    /// Its flag without the dash; ends in `*` when it stands for a family.
    pub(crate) flag: Option<String>,
    /// The default as text.
    pub(crate) default: String,
    /// The keys inside a block.
    pub(crate) keys: Vec<Self>,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Keys.
    Block,
    /// A list of blocks.
    BlockList,
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Bool,
    /// A whole number, or bytes with a unit.
    Int,
    /// A number.
    Float,
    /// A length of time.
    Duration,
    /// A number of bytes.
    Size,
    /// Several texts.
    List,
    /// A moment (RFC 3339), or 0.
    Time,
    /// Whatever the file says.
    Any,
}

/// What becomes of a key that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It has its effect.
    Honour,
    /// It is accepted without effect, and a warning names it.
    Idle,
    /// It is accepted without effect and without a word.
    Quiet,
    /// Starting is refused for the given reason unless the value is the default.
    Refuse(String),
}

/// A flag and the key it sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlagTarget<'a> {
    /// Dotted path of the key; empty for a family of flags that set nothing.
    pub(crate) path: &'a str,
    /// The key.
    pub(crate) key: &'a Key,
}

/// The whole table.
#[derive(Debug)]
pub(crate) struct Schema {
    /// The document as a block.
    pub(crate) root: Key,
    flags: HashMap<String, String>,
    families: Vec<(String, String)>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| Schema::read(include_str!("keys.txt")));

impl Schema {
    /// The table of this build.
    pub(crate) fn get() -> &'static Self {
        &SCHEMA
    }

    /// The key at a dotted path; items of block lists have the path of the list.
    pub(crate) fn at(&self, path: &str) -> Option<&Key> {
        path.split('.').try_fold(&self.root, |key, name| key.key(name))
    }

    /// What a flag sets, by its name without dashes.
    pub(crate) fn flag(&self, name: &str) -> Option<FlagTarget<'_>> {
        let path = self.flags.get(name).or_else(|| {
            let family = |(prefix, _): &&(String, String)| name.starts_with(prefix.as_str());
            let (_, path) = self.families.iter().filter(family).max_by_key(|(prefix, _)| prefix.len())?;
            Some(path)
        })?;
        let key = self.at(path)?;
        Some(FlagTarget { path, key })
    }

    /// Every flag with a name of its own, sorted.
    pub(crate) fn flag_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.flags.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    fn read(table: &str) -> Self {
        let lines: Vec<Line<'_>> = table.lines().enumerate().filter_map(Line::split).collect();
        let mut templates = HashMap::new();
        let mut keys = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let end = block_end(&lines, at);
            match lines[at].text.strip_prefix('@') {
                Some(name) => {
                    templates.insert(name, &lines[at + 1..end]);
                }
                None => keys.extend(read_keys(&lines[at..end], &Scope::root(&templates))),
            }
            at = end;
        }
        let root = Key {
            name: String::new(),
            kind: Kind::Block,
            verdict: Verdict::Honour,
            flag: None,
            default: String::new(),
            keys,
        };
        let mut schema = Self { root, flags: HashMap::new(), families: Vec::new() };
        schema.index_flags();
        schema
    }

    fn index_flags(&mut self) {
        let mut found = Vec::new();
        collect_flags(&self.root, "", &mut found);
        for (flag, path) in found {
            if let Some(prefix) = flag.strip_suffix('*') {
                self.families.push((prefix.to_owned(), path));
            } else {
                let twin = self.flags.insert(flag.clone(), path);
                assert!(twin.is_none(), "flag -{flag} stands twice in the table");
            }
        }
    }
}

impl Key {
    /// The key of that name inside a block.
    pub(crate) fn key(&self, name: &str) -> Option<&Self> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The name inside this block that is most like `name`, if one is alike at all.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.keys.iter().map(|key| key.name.as_str()))
    }
}

/// The candidate most like `name`: at most a third of its letters may differ.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, delete, replace or swap with a neighbour to turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = above[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

fn collect_flags(block: &Key, path: &str, found: &mut Vec<(String, String)>) {
    for key in &block.keys {
        let path = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        if let Some(flag) = &key.flag {
            found.push((flag.clone(), path.clone()));
        }
        if key.kind == Kind::Block {
            collect_flags(key, &path, found);
        }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    number: usize,
    depth: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn split((number, line): (usize, &'a str)) -> Option<Self> {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 2;
        (!text.is_empty() && !text.starts_with('#')).then_some(Self {
            number: number + 1,
            depth,
            text: text.trim_end(),
        })
    }
}

/// What surrounds the lines being read.
#[derive(Clone)]
struct Scope<'a> {
    templates: &'a HashMap<&'a str, &'a [Line<'a>]>,
    prefix: Option<String>,
    verdict: Verdict,
}

impl<'a> Scope<'a> {
    fn root(templates: &'a HashMap<&'a str, &'a [Line<'a>]>) -> Self {
        Self { templates, prefix: None, verdict: Verdict::Honour }
    }

    /// A flag or a template's prefix with `%` filled in.
    fn fill(&self, text: &str) -> String {
        let filled = match &self.prefix {
            Some(prefix) => text.replace('%', prefix),
            None => text.to_owned(),
        };
        filled.trim_start_matches('.').to_owned()
    }
}

fn read_keys(lines: &[Line<'_>], scope: &Scope<'_>) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let end = block_end(lines, at);
        let inside = &lines[at + 1..end];
        let (words, verdict) = verdict_of(line, &scope.verdict);
        let mut words = words.split_whitespace();
        let first = words.next().expect("blank lines were left out");
        let scope = Scope { verdict, ..scope.clone() };
        if let Some(template) = first.strip_prefix('@') {
            keys.extend(include(template, words.next(), &scope, line));
        } else if let Some(name) = first.strip_suffix(':') {
            let mut block = block(name, &scope);
            block.keys = match words.next().and_then(|word| word.strip_prefix('@')) {
                Some(template) => include(template, words.next(), &scope, line),
                None => read_keys(inside, &scope),
            };
            keys.push(block);
        } else {
            keys.push(leaf(first, words, scope, line));
        }
        at = end;
    }
    keys
}

fn verdict_of<'a>(line: Line<'a>, inherited: &Verdict) -> (&'a str, Verdict) {
    let Some((words, verdict)) = line.text.split_once(" =") else {
        return (line.text, inherited.clone());
    };
    let verdict = match verdict.split_once(' ') {
        None if verdict == "idle" => Verdict::Idle,
        None if verdict == "quiet" => Verdict::Quiet,
        Some(("refuse", reason)) => Verdict::Refuse(reason.to_owned()),
        _ => panic!("keys.txt line {}: verdict {verdict}", line.number),
    };
    (words, verdict)
}

fn include(template: &str, prefix: Option<&str>, scope: &Scope<'_>, line: Line<'_>) -> Vec<Key> {
    let lines = scope.templates.get(template);
    let lines = lines.unwrap_or_else(|| panic!("keys.txt line {}: template {template}", line.number));
    let prefix = match prefix {
        Some("-") | None => String::new(),
        Some(prefix) => scope.fill(prefix),
    };
    let scope = Scope { prefix: Some(prefix), ..scope.clone() };
    read_keys(lines, &scope)
}

fn block(name: &str, scope: &Scope<'_>) -> Key {
    let (name, kind) = match name.strip_suffix("[]") {
        Some(name) => (name, Kind::BlockList),
        None => (name, Kind::Block),
    };
    Key {
        name: name.to_owned(),
        kind,
        verdict: scope.verdict.clone(),
        flag: None,
        default: String::new(),
        keys: Vec::new(),
    }
}

fn leaf<'a>(name: &str, mut words: impl Iterator<Item = &'a str>, scope: Scope<'_>, line: Line<'_>) -> Key {
    let kind = match words.next() {
        Some("text") => Kind::Text,
        Some("secret") => Kind::Secret,
        Some("bool") => Kind::Bool,
        Some("int") => Kind::Int,
        Some("float") => Kind::Float,
        Some("duration") => Kind::Duration,
        Some("size") => Kind::Size,
        Some("list") => Kind::List,
        Some("time") => Kind::Time,
        Some("any") => Kind::Any,
        other => panic!("keys.txt line {}: type {other:?}", line.number),
    };
    let default = words.next().unwrap_or_else(|| panic!("keys.txt line {}: no default", line.number));
    let flag = words.next().and_then(|flag| flag.strip_prefix('-')).map(|flag| scope.fill(flag));
    assert!(words.next().is_none(), "keys.txt line {}: excess words", line.number);
    Key {
        name: name.to_owned(),
        kind,
        verdict: scope.verdict,
        flag,
        default: if default == "\"\"" { String::new() } else { default.to_owned() },
        keys: Vec::new(),
    }
}

/// Index of the first line after the block that starts at `at`.
fn block_end(lines: &[Line<'_>], at: usize) -> usize {
    let inside = lines[at + 1..].iter().take_while(|line| line.depth > lines[at].depth);
    at + 1 + inside.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_in_their_prefix() {
        let schema = Schema::get();
        let flag = |path: &str| schema.at(path).and_then(|key| key.flag.clone());
        assert_eq!(flag("common.storage.s3.endpoint").as_deref(), Some("common.storage.s3.endpoint"));
        assert_eq!(flag("storage_config.aws.endpoint").as_deref(), Some("s3.endpoint"));
        assert_eq!(flag("ingester.lifecycler.ring.kvstore.store").as_deref(), Some("ring.store"));
        assert_eq!(
            flag("compactor.retention_backoff_config.min_period").as_deref(),
            Some("compactor.retention-backoff-config.backoff-min-period")
        );
    }

    #[test]
    fn a_blocks_verdict_holds_inside_unless_a_key_has_its_own() {
        let verdict = |path: &str| Schema::get().at(path).map(|key| key.verdict.clone());
        assert_eq!(verdict("chunk_store_config.chunk_cache_config.redis.db"), Some(Verdict::Idle));
        assert_eq!(verdict("limits_config.shard_streams.enabled"), Some(Verdict::Quiet));
        assert_eq!(verdict("limits_config.shard_streams.time_sharding_enabled"), Some(Verdict::Idle));
        assert_eq!(verdict("server.http_listen_port"), Some(Verdict::Honour));
        assert!(matches!(verdict("target"), Some(Verdict::Refuse(_))));
    }

    #[test]
    fn exact_flags_win_over_families_and_long_families_over_short() {
        let path = |name: &str| Schema::get().flag(name).map(|target| target.path.to_owned());
        assert_eq!(path("server.http-listen-port").as_deref(), Some("server.http_listen_port"));
        assert_eq!(path("index-gateway.shard-size").as_deref(), Some("limits_config.index_gateway_shard_size"));
        assert_eq!(path("index-gateway.mode").as_deref(), Some("index_gateway"));
        assert_eq!(path("pattern-ingester.tee.batch-size").as_deref(), Some("pattern_ingester.tee_config"));
        assert_eq!(path("no.such-flag"), None);
    }

    #[test]
    fn the_nearest_name_is_one_that_is_alike() {
        let server = Schema::get().key_of("server");
        assert_eq!(server.nearest("http_listen_prot"), Some("http_listen_port"));
        assert_eq!(server.nearest("loglevel"), Some("log_level"));
        assert_eq!(server.nearest("banana"), None);
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        let cases = [("", "abc", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("kitten", "sitting", 3)];
        for (a, b, expected) in cases {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    impl Schema {
        fn key_of(&self, name: &str) -> &Key {
            self.root.key(name).expect("it is in the table")
        }
    }
}
