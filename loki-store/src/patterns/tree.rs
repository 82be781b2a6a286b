//! Drain's tree, for the lines of one stream and level.
//!
//! The way of a line through the tree is its layout (which implies the number of words) and its first word. There it
//! joins a cluster whose constant words it has; failing that, the cluster with which it shares the most words of prose,
//! if these are more than half of them; failing that, it founds a cluster. Prose is what is neither the key nor the value
//! of a pair: pairs are alike in all lines of a program, and values are what varies in them.

use hashbrown::HashMap;

use super::shape::{Shape, VARIABLE};
use super::{MAX_CHILDREN, MAX_LEAF_CLUSTERS};

/// The hash of a word that varies.
const WILD: u32 = 0;
/// The first word of those that no longer get a child of their own.
const ANY_FIRST: u32 = 0;
/// Behind the last cluster of a leaf.
const NONE: u32 = u32::MAX;

type Map<V> = HashMap<u64, V, foldhash::fast::FixedState>;

/// Clusters of lines.
#[derive(Debug)]
pub(super) struct Tree {
    max_clusters: usize,
    /// The first cluster of each leaf.
    leaves: Map<Leaf>,
    /// How many first words a layout has.
    children: Map<usize>,
    clusters: Vec<Cluster>,
    /// By cluster and word: its hash, or [`WILD`].
    hashes: Vec<u32>,
    words: Vec<Word>,
    /// Of each cluster the line that founded it.
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Leaf {
    first: u32,
    clusters: u32,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    layout: u64,
    /// The next of the same leaf.
    next: u32,
    first_word: u32,
    words: u32,
    text: u32,
    text_len: u32,
    /// Words that count when it is compared.
    prose: u32,
    is_cut: bool,
}

/// A word of a cluster.
#[derive(Clone, Copy, Debug)]
struct Word {
    start: u16,
    end: u16,
    is_prose: bool,
}

/// A cluster, for somebody to write it down.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    tree: &'a Tree,
    cluster: Cluster,
}

impl Tree {
    pub(super) fn new(max_clusters: usize) -> Self {
        Self {
            max_clusters,
            leaves: Map::default(),
            children: Map::default(),
            clusters: Vec::new(),
            hashes: Vec::new(),
            words: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Forgets everything, but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.leaves.clear();
        self.children.clear();
        self.clusters.clear();
        self.hashes.clear();
        self.words.clear();
        self.text.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.clusters.len()
    }

    pub(super) fn view(&self, cluster: usize) -> View<'_> {
        View { tree: self, cluster: self.clusters[cluster] }
    }

    /// The number of the cluster of a line; `None` if it has none and there can be no more.
    pub(super) fn place(&mut self, shape: &Shape, line: &[u8]) -> Option<usize> {
        let first = shape.hashes().first().copied().unwrap_or(VARIABLE);
        let mut key = leaf_key(shape.layout(), first);
        let mut leaf = self.leaves.get(&key).copied();
        if leaf.is_none() {
            let children = self.children.get(&shape.layout()).copied().unwrap_or(0);
            if children >= MAX_CHILDREN {
                key = leaf_key(shape.layout(), ANY_FIRST);
                leaf = self.leaves.get(&key).copied();
            }
        }
        if let Some(leaf) = leaf {
            if let Some(found) = self.find_equal(key, leaf, shape) {
                return Some(found);
            }
            if let Some(found) = self.find_similar(leaf, shape) {
                self.generalize(found, shape);
                return Some(found);
            }
        }
        self.found(key, leaf, shape, line)
    }

    /// The cluster whose constant words a line has; it becomes the first of its leaf, because lines of a kind come
    /// together.
    fn find_equal(&mut self, key: u64, leaf: Leaf, shape: &Shape) -> Option<usize> {
        let (mut at, mut before) = (leaf.first, NONE);
        loop {
            let cluster = self.clusters[at as usize];
            if cluster.is_of(shape) && has_constants(self.hashes_of(cluster), shape.hashes()) {
                break;
            }
            if cluster.next == NONE {
                return None;
            }
            (before, at) = (at, cluster.next);
        }
        if before != NONE {
            self.clusters[before as usize].next = self.clusters[at as usize].next;
            self.clusters[at as usize].next = leaf.first;
            self.leaves.insert(key, Leaf { first: at, ..leaf });
        }
        Some(at as usize)
    }

    /// The cluster with the most words of prose in common.
    fn find_similar(&self, leaf: Leaf, shape: &Shape) -> Option<usize> {
        let mut best = None;
        let mut at = leaf.first;
        while at != NONE {
            let cluster = self.clusters[at as usize];
            let pairs = self.hashes_of(cluster).iter().zip(shape.hashes()).zip(self.words_of(cluster));
            let common = pairs.filter(|((of_cluster, of_line), word)| word.is_prose && of_cluster == of_line).count();
            let is_similar = cluster.prose == 0 || 2 * common > cluster.prose as usize;
            if cluster.is_of(shape) && is_similar && best.is_none_or(|(most, _)| common > most) {
                best = Some((common, at as usize));
            }
            at = cluster.next;
        }
        best.map(|(_, cluster)| cluster)
    }

    /// Makes every word of a cluster wild that a line has not.
    fn generalize(&mut self, cluster: usize, shape: &Shape) {
        let first = self.clusters[cluster].first_word as usize;
        for (of_cluster, of_line) in self.hashes[first..].iter_mut().zip(shape.hashes()) {
            if of_cluster != of_line {
                *of_cluster = WILD;
            }
        }
    }

    /// Founds a cluster.
    fn found(&mut self, key: u64, leaf: Option<Leaf>, shape: &Shape, line: &[u8]) -> Option<usize> {
        let in_leaf = leaf.map_or(0, |leaf| leaf.clusters);
        if self.clusters.len() >= self.max_clusters || in_leaf as usize >= MAX_LEAF_CLUSTERS {
            return None;
        }
        let number = self.clusters.len();
        if leaf.is_none() {
            *self.children.entry(shape.layout()).or_default() += 1;
        }
        let text = shape.text(line);
        let (first_word, text_start) = (self.words.len(), self.text.len());
        self.text.extend_from_slice(text);
        let wild = |hash: &u32| if *hash == VARIABLE { WILD } else { *hash };
        self.hashes.extend(shape.hashes().iter().map(wild));
        let spans = shape.spans().iter();
        self.words.extend(spans.map(|&(start, end)| Word { start, end, is_prose: true }));
        mark_pairs(text, &mut self.words[first_word..]);
        let mut prose = 0;
        for (word, hash) in self.words[first_word..].iter_mut().zip(&self.hashes[first_word..]) {
            word.is_prose &= *hash != WILD;
            prose += u32::from(word.is_prose);
        }
        self.clusters.push(Cluster {
            layout: shape.layout(),
            next: leaf.map_or(NONE, |leaf| leaf.first),
            first_word: first_word as u32,
            words: shape.hashes().len() as u32,
            text: text_start as u32,
            text_len: text.len() as u32,
            prose,
            is_cut: shape.is_cut(),
        });
        self.leaves.insert(key, Leaf { first: number as u32, clusters: in_leaf + 1 });
        Some(number)
    }

    fn hashes_of(&self, cluster: Cluster) -> &[u32] {
        &self.hashes[cluster.first_word as usize..][..cluster.words as usize]
    }

    fn words_of(&self, cluster: Cluster) -> &[Word] {
        &self.words[cluster.first_word as usize..][..cluster.words as usize]
    }
}

impl Cluster {
    /// Whether a line has the same layout; leaves are found by hashes, which may collide.
    fn is_of(&self, shape: &Shape) -> bool {
        self.layout == shape.layout() && self.words as usize == shape.hashes().len()
    }
}

impl<'a> View<'a> {
    /// The line that founded it, as far as it was looked at.
    pub(super) fn text(self) -> &'a [u8] {
        &self.tree.text[self.cluster.text as usize..][..self.cluster.text_len as usize]
    }

    /// Where its words are, and whether they vary.
    pub(super) fn words(self) -> impl Iterator<Item = (std::ops::Range<usize>, bool)> + 'a {
        let words = self.tree.words_of(self.cluster).iter().zip(self.tree.hashes_of(self.cluster));
        words.map(|(word, hash)| (usize::from(word.start)..usize::from(word.end), *hash == WILD))
    }

    /// Whether the line went on.
    pub(super) fn is_cut(self) -> bool {
        self.cluster.is_cut
    }
}

fn leaf_key(layout: u64, first: u32) -> u64 {
    layout ^ u64::from(first).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// Whether a line has all words of a cluster that do not vary.
fn has_constants(cluster: &[u32], line: &[u32]) -> bool {
    // Without a way out in the middle, so that several words are compared at once.
    let differences = cluster
        .iter()
        .zip(line)
        .map(|(of_cluster, of_line)| u32::from(*of_cluster != WILD) & u32::from(of_cluster != of_line));
    differences.fold(0, |all, one| all | one) == 0
}

/// Finds keys and values among words, which are no prose. A quoted value of several words is, and so is any value whose
/// key says that it is a message.
fn mark_pairs(text: &[u8], words: &mut [Word]) {
    let mut value: Option<Value> = None;
    let mut before = 0;
    for i in 0..words.len() {
        let gap = &text[before..usize::from(words[i].start)];
        let behind = &text[usize::from(words[i].end)..];
        before = usize::from(words[i].end);
        if let Some(open) = &mut value
            && !open.ends_in(gap)
        {
            if open.is_quoted && gap.contains(&b' ') {
                words[open.first..i].iter_mut().for_each(|word| word.is_prose = true);
                open.is_prose = true;
            }
            words[i].is_prose = open.is_prose;
            continue;
        }
        value = None;
        if let Some(quoted) = begins_value(gap)
            && i > 0
        {
            let key = &text[usize::from(words[i - 1].start)..usize::from(words[i - 1].end)];
            let is_prose = MESSAGE_KEYS.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(key));
            value = Some(Value { first: i, is_quoted: quoted, is_prose });
            words[i].is_prose = is_prose;
        } else {
            words[i].is_prose = !(behind.starts_with(b"=") || behind.starts_with(b"\":"));
        }
    }
}

/// Keys whose values are messages.
const MESSAGE_KEYS: [&str; 8] = ["msg", "message", "msg_", "_msg", "log", "content", "error", "event"];

/// A value whose words come just now.
struct Value {
    /// Its first word.
    first: usize,
    is_quoted: bool,
    is_prose: bool,
}

impl Value {
    fn ends_in(&self, gap: &[u8]) -> bool {
        let ends: &[u8] = if self.is_quoted { b"\"" } else { b" ,;&}])\"\t\n" };
        gap.iter().any(|byte| ends.contains(byte))
    }
}

/// Whether a value begins behind what is between two words, and if so, whether it is quoted.
fn begins_value(gap: &[u8]) -> Option<bool> {
    let at = gap.iter().rposition(|byte| *byte == b'=').or_else(|| {
        let quote = memchr::memmem::rfind(gap, b"\":")?;
        Some(quote + 1)
    })?;
    Some(gap[at..].contains(&b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patterns::{MAX_CLUSTERS, MAX_LINE_BYTES};

    fn place(tree: &mut Tree, line: &str) -> Option<usize> {
        let mut shape = Shape::new();
        shape.read(line.as_bytes(), MAX_LINE_BYTES);
        tree.place(&shape, line.as_bytes())
    }

    /// The words that are no prose.
    fn pairs(line: &str) -> Vec<&str> {
        let mut tree = Tree::new(1);
        place(&mut tree, line).expect("there is room");
        let words = tree.words.iter().filter(|word| !word.is_prose);
        words.map(|word| &line[usize::from(word.start)..usize::from(word.end)]).collect()
    }

    #[test]
    fn keys_and_values_are_no_prose() {
        assert_eq!(
            pairs("level=info user=bob path=/a/b msg=hi ok"),
            ["level", "info", "user", "bob", "path", "/a/b", "msg"]
        );
        assert_eq!(pairs(r#"method="GET" msg="all is well" note="two words""#), ["method", "GET", "msg", "note"]);
        assert_eq!(
            pairs(r#"{"level":"info","a":{"b":"c"},"msg":"hi there","tags":["x","y"]}"#),
            ["level", "info", "a", "b", "c", "msg", "tags", "x"]
        );
        assert_eq!(pairs("plain words: all prose"), [""; 0]);
    }

    #[test]
    fn lines_with_most_words_in_common_share_a_cluster() {
        let mut tree = Tree::new(MAX_CLUSTERS);
        let first = place(&mut tree, "user alice logged in");
        assert_eq!(place(&mut tree, "user bob logged in"), first);
        assert_eq!(place(&mut tree, "user 17 logged in"), first);
        assert_ne!(place(&mut tree, "user cache was flushed"), first);
        assert_ne!(place(&mut tree, "user bob logged in!"), first);
    }

    #[test]
    fn a_layout_has_so_many_first_words() {
        let mut tree = Tree::new(MAX_CLUSTERS);
        let numbers: Vec<_> = (0..MAX_CHILDREN + 2)
            .map(|i| {
                let name = char::from(b'a' + i as u8);
                place(&mut tree, &format!("{name} logged in"))
            })
            .collect();
        let expected: Vec<_> = (0..=MAX_CHILDREN).chain([MAX_CHILDREN]).map(Some).collect();
        assert_eq!(numbers, expected);
    }

    #[test]
    fn there_are_so_many_clusters() {
        let mut tree = Tree::new(3);
        let numbers: Vec<_> =
            ["a b c", "a=b c", "a:b c", "a;b c", "x b c"].iter().map(|line| place(&mut tree, line)).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2), None, None]);
        tree.clear();
        assert_eq!(place(&mut tree, "a;b c"), Some(0));
    }

    #[test]
    fn a_leaf_has_so_many_clusters() {
        let mut tree = Tree::new(MAX_CLUSTERS);
        let letters = |i: usize| (char::from(b'a' + (i / 26) as u8), char::from(b'a' + (i % 26) as u8));
        let mut founded = 0;
        for i in 0..MAX_LEAF_CLUSTERS + 2 {
            let (a, b) = letters(i);
            founded += usize::from(place(&mut tree, &format!("see {a}{b} {b}{a}")).is_some());
        }
        assert_eq!(founded, MAX_LEAF_CLUSTERS);
    }
}
