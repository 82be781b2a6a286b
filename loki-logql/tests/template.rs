//! Golden tests of templates: `tests/data/template/*.txt`.
//!
//! A file starts with the entry all its cases see: `@name = "value"` sets a label, `@@line = "value"` the line. A case
//! is a template on one line, then its outcome: `=> ` output, `!! ` error of execution, `?? ` error of parsing.
//! Templates and outputs that would not survive as plain lines are written as Go string literals. `# ` starts a
//! heading. `UPDATE_GOLDEN=1` writes the outcomes that the code has now.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use loki_core::Timestamp;
use loki_core::labels::{quote, unquote_bytes};
use loki_logql::template::{
    Fields, LabelReferences, MAX_DEPTH, MAX_NESTING, MAX_OUTPUT_BYTES, MAX_STEPS, Scratch, Segment, Template,
};
use proptest::prelude::*;

/// An entry at 2025-03-04 13:54:52.607597442 UTC; the clock stands ten seconds later.
#[derive(Default)]
struct Entry {
    labels: BTreeMap<String, String>,
    line: Vec<u8>,
}

impl Entry {
    fn new(labels: &[(&str, &str)], line: &str) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { labels, line: line.into() }
    }
}

impl Fields for Entry {
    fn field(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    fn for_each(&self, f: &mut dyn FnMut(&str, &str)) {
        self.labels.iter().for_each(|(name, value)| f(name, value));
    }

    fn line(&self) -> &[u8] {
        &self.line
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanos(1_741_096_492_607_597_442)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(1_741_096_502_607_597_442)
    }
}

/// The outcome of a template, marked as in the files.
fn outcome(template: &str, entry: &Entry, scratch: &mut Scratch) -> String {
    let template = match Template::parse("line", template) {
        Ok(template) => template,
        Err(error) => return format!("?? {error}"),
    };
    let mut out = b"kept".to_vec();
    match template.execute(entry, &mut out, scratch) {
        Ok(()) => format!("=> {}", written(&out[4..])),
        Err(error) => {
            assert_eq!(out, b"kept", "a failed execution must not write");
            format!("!! {}", written(error.to_string().as_bytes()))
        }
    }
}

/// `text` as it stands in a file: plain if that is unambiguous, else as a Go string literal.
fn written(text: &[u8]) -> String {
    match std::str::from_utf8(text) {
        Ok(plain) if !plain.starts_with('"') && plain.trim() == plain && !plain.contains(char::is_control) => {
            plain.to_owned()
        }
        _ => {
            text.utf8_chunks().fold(String::from("\""), |mut quoted, chunk| {
                let literal = quote(chunk.valid());
                quoted.push_str(&literal[1..literal.len() - 1]);
                for byte in chunk.invalid() {
                    let _ = write!(quoted, "\\x{byte:02x}");
                }
                quoted
            }) + "\""
        }
    }
}

/// The text that [`written`] wrote.
fn read(text: &str) -> Vec<u8> {
    if text.starts_with('"') { unquote_bytes(text).expect("a string literal") } else { text.into() }
}

/// Runs the cases of a file; returns the file as it should be, and the cases that differ.
fn run(file: &str) -> (String, Vec<String>) {
    let (mut entry, mut scratch) = (Entry::default(), Scratch::default());
    let (mut expected_file, mut failures) = (String::new(), Vec::new());
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(expected_file, "{line}");
        if let Some(setting) = line.strip_prefix('@') {
            let (name, value) = setting.split_once(" = ").expect("name = value");
            let value = read(value);
            match name.strip_prefix('@') {
                Some(_) => entry.line = value,
                None => drop(entry.labels.insert(name.to_owned(), String::from_utf8(value).expect("UTF-8"))),
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            let template = String::from_utf8(read(line)).expect("templates are UTF-8");
            let expected = lines.next().unwrap_or_default();
            let actual = outcome(&template, &entry, &mut scratch);
            if actual != expected {
                failures.push(format!("{line}\n  expected {expected}\n  actual   {actual}"));
            }
            let _ = writeln!(expected_file, "{actual}");
        }
    }
    (expected_file, failures)
}

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/template");
    let files = fs::read_dir(folder).expect("the folder of golden files");
    let mut paths: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

#[test]
fn golden_cases_have_their_outcomes() {
    let mut failures = Vec::new();
    for path in golden_files() {
        let file = fs::read_to_string(&path).expect("a golden file");
        let (updated, mut failed) = run(&file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, updated).expect("a writable golden file");
        } else {
            failures.append(&mut failed);
        }
    }
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
}

/// The result of `template` for an empty entry.
fn result(template: &str) -> Result<Vec<u8>, String> {
    let template = Template::parse("line", template).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    template.execute(&Entry::default(), &mut out, &mut Scratch::default()).map_err(|error| error.to_string())?;
    Ok(out)
}

#[test]
fn output_may_reach_its_limit_but_not_pass_it() {
    let full = MAX_OUTPUT_BYTES;
    assert_eq!(result(&format!("{{{{repeat {full} `x`}}}}")).map(|out| out.len()), Ok(full));
    for template in [
        format!("{{{{repeat {} `x`}}}}", full + 1),
        format!("{{{{repeat {full} `x`}}}}y"),
        format!("{{{{repeat {full} `x`}}}}{{{{1}}}}"),
        "{{repeat 9223372036854775807 `x`}}".to_owned(),
        "{{indent 9223372036854775807 `x`}}".to_owned(),
        "{{alignLeft 9223372036854775807 `x`}}".to_owned(),
        "{{alignRight 9223372036854775807 `x`}}".to_owned(),
        "{{printf `%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d` 1 2 3 4 5 6 7 8 9}}"
            .to_owned(),
        "{{$x := repeat 1000000 `x`}}{{Replace `aaaaaaaaa` `a` $x -1}}".to_owned(),
        "{{$x := repeat 1000000 `x`}}{{replace `` $x `aaaaaaaaa`}}".to_owned(),
        "{{$x := repeat 1000000 `x`}}{{regexReplaceAll `a` `aaaaaaaaa` $x}}".to_owned(),
        "{{$x := repeat 1000000 `x`}}{{regexReplaceAll `a(x*)` (print `a` $x) `$1$1$1$1$1$1$1$1$1`}}".to_owned(),
        "{{$x := repeat 8388608 `x`}}{{b64enc $x}}".to_owned(),
        "{{$x := repeat 8388608 `x`}}{{print $x `x`}}".to_owned(),
    ] {
        let error = result(&template).expect_err(&template);
        assert!(error.ends_with("exceeded maximum output size (8388608 bytes)"), "{template}: {error}");
    }
}

#[test]
fn copying_templates_respect_the_output_limit() {
    let line = "x".repeat(MAX_OUTPUT_BYTES / 2);
    let entry = Entry::new(&[], &line);
    let execute = |text: &str| {
        let template = Template::parse("line", text).expect("a valid template");
        assert!(template.segments().is_some());
        template.execute(&entry, &mut Vec::new(), &mut Scratch::default())
    };
    assert!(execute("{{__line__}}{{__line__}}").is_ok());
    let error = execute("{{__line__}}{{__line__}}.").expect_err("one byte too many");
    assert!(error.is_limit());
}

#[test]
fn values_may_not_fill_memory() {
    let error = result("{{range 20}}{{$x := repeat 8000000 `x`}}{{end}}").expect_err("160 MB");
    assert!(error.ends_with("exceeded maximum memory of an execution (67108864 bytes)"), "{error}");
}

#[test]
fn work_is_limited() {
    let most = MAX_STEPS - 1;
    assert_eq!(result(&format!("{{{{range {most}}}}}{{{{end}}}}{{{{1}}}}")), Ok(b"1".to_vec()));
    for template in [
        format!("{{{{range {MAX_STEPS}}}}}{{{{end}}}}{{{{1}}}}"),
        "{{range 9223372036854775807}}{{end}}".to_owned(),
        "{{define `a`}}{{range 1000}}{{range 1000}}{{end}}{{end}}{{end}}{{template `a`}}{{template `a`}}".to_owned(),
        "{{$x := repeat 8000000 `a`}}{{range 1000}}{{if contains `b` $x}}{{end}}{{end}}".to_owned(),
    ] {
        let error = result(&template).expect_err(&template);
        assert!(error.ends_with("exceeded maximum work of an execution (1000000 steps)"), "{template}: {error}");
    }
}

#[test]
fn depth_of_execution_is_limited() {
    let nested = |count: usize| {
        let mut text = format!("{{{{define `t{count}`}}}}end{{{{end}}}}{{{{template `t0`}}}}");
        for index in 0..count {
            let _ = write!(text, "{{{{define `t{index}`}}}}{{{{template `t{}`}}}}{{{{end}}}}", index + 1);
        }
        text
    };
    assert_eq!(result(&nested(MAX_DEPTH - 1)), Ok(b"end".to_vec()));
    let error = result(&nested(MAX_DEPTH)).expect_err("one too deep");
    assert!(error.ends_with("exceeded maximum template depth (200)"), "{error}");
    let recursive =
        "{{define `t`}}{{if (((true)))}}{{with 1}}{{template `t` (((1)))}}{{end}}{{end}}{{end}}{{template `t`}}";
    let error = result(recursive).expect_err("endless");
    assert!(error.ends_with("exceeded maximum template depth (200)"), "{error}");
}

#[test]
fn nesting_of_the_text_is_limited() {
    let nested = |count| format!("{}{}", "{{if 1}}".repeat(count), "{{end}}".repeat(count));
    assert_eq!(result(&nested(MAX_NESTING - 1)), Ok(Vec::new()));
    for template in [
        nested(MAX_NESTING + 1),
        format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("{{{{if 1}}}}{}", "{{else if 1}}".repeat(10_000)),
        "{{block `x` 1}}".repeat(10_000),
    ] {
        let error = result(&template).expect_err("too deep");
        assert_eq!(error, "template: line:1: nested too deeply (limit 100)");
    }
}

#[test]
fn json_nested_too_deeply_counts_as_malformed() {
    let nested = |count: usize| format!("{{{{fromJson (print (repeat {count} `[`) (repeat {count} `]`))}}}}");
    assert_eq!(result(&nested(300)).map(|out| out.len()), Ok(600));
    assert_eq!(result(&nested(301)), Ok(b"<no value>".to_vec()));
    // The deepest value printed by the deepest template must fit the stack of a thread.
    let recursive = format!(
        "{{{{define `t`}}}}{{{{if .}}}}{{{{template `t` (slice . 1)}}}}{{{{else}}}}{}{{{{end}}}}{{{{end}}}}{}",
        nested(300),
        "{{template `t` (repeat 90 `x`)}}"
    );
    assert_eq!(result(&recursive).map(|out| out.len()), Ok(600));
}

#[test]
fn bytes_that_are_not_utf8_pass_through() {
    let entry = Entry { line: b"a\xff\xfe b".to_vec(), ..Entry::default() };
    let execute = |text: &str| {
        let mut out = Vec::new();
        let template = Template::parse("line", text).expect("a valid template");
        template.execute(&entry, &mut out, &mut Scratch::default()).expect("a result");
        out
    };
    assert_eq!(execute("{{__line__}}"), b"a\xff\xfe b");
    assert_eq!(execute("{{__line__ | trunc 2}}"), b"a\xff");
    assert_eq!(execute("{{printf `%s|%q` __line__ __line__}}"), b"a\xff\xfe b|\"a\\xff\\xfe b\"");
    assert_eq!(execute("{{__line__ | replace `a` `c`}}"), b"c\xff\xfe b");
    assert_eq!(execute("{{__line__ | upper}}"), "A\u{fffd}\u{fffd} B".as_bytes());
    assert_eq!(execute("{{alignLeft 8 __line__}}|"), b"a\xff\xfe b   |");
    assert_eq!(execute("{{__line__ | b64enc}}"), b"Yf/+IGI=");
}

#[test]
fn templates_that_only_copy_are_recognised() {
    let segments = |text| Template::parse("line", text).expect("a valid template").segments().map(<[_]>::to_vec);
    assert_eq!(
        segments("{{.a}}: {{- .b -}} {{__line__}}{{/* no */}}"),
        Some(vec![Segment::Field("a".into()), Segment::Text(":".into()), Segment::Field("b".into()), Segment::Line])
    );
    assert_eq!(segments(""), Some(Vec::new()));
    for text in ["{{.a.b}}", "{{.a | upper}}", "{{$.a}}", "{{$x := .a}}", "{{if .a}}{{end}}", "{{.a 1}}", "{{.}}"] {
        assert_eq!(segments(text), None, "{text}");
    }
}

#[test]
fn references_name_the_labels_that_are_read() {
    let names = |text| match Template::parse("line", text).expect("a valid template").references().labels {
        LabelReferences::All => "all".to_owned(),
        LabelReferences::Names(names) => names.into_iter().collect::<Vec<_>>().join(" "),
    };
    for (text, expected) in [
        ("text", ""),
        ("{{.a}} {{.b | upper}} {{printf `%s` .c}}", "a b c"),
        ("{{$.a}}{{with .b}}{{$.c}}{{end}}", "a b c"),
        ("{{index . `a-b`}}{{index $ `c` 0}}", "a-b c"),
        ("{{if .a}}{{.b}}{{else}}{{.c}}{{end}}", "a b c"),
        ("{{range fromJson .a}}{{.}} {{.b}}{{end}}", "a"),
        ("{{with .a}}{{.}}{{else}}{{.b}}{{end}}", "a b"),
        ("{{define `t`}}{{.x}}{{end}}{{template `t` .a}}", "a"),
        ("{{(fromJson .a).b.c}}", "a"),
        ("{{$x := .a}}{{$x}}", "a"),
        ("{{.}}", "all"),
        ("{{range .}}{{end}}", "all"),
        ("{{$x := .}}{{$x.a}}", "all"),
        ("{{index . .a}}", "all"),
        ("{{define `t`}}{{.x}}{{end}}{{template `t` .}}", "all"),
        ("{{with $}}{{.a}}{{end}}", "all"),
        ("{{printf `%v` .}}", "all"),
    ] {
        assert_eq!(names(text), expected, "{text}");
    }
}

#[test]
fn references_tell_line_and_timestamp() {
    let references = |text| {
        let references = Template::parse("line", text).expect("a valid template").references();
        (references.line, references.timestamp)
    };
    assert_eq!(references("{{.a}}"), (false, false));
    assert_eq!(references("{{.a}}{{__line__}}"), (true, false));
    assert_eq!(references("{{if .a}}{{(__timestamp__).Unix}}{{end}}"), (false, true));
    assert_eq!(references("{{define `t`}}{{upper __line__}}{{__timestamp__}}{{end}}{{template `t`}}"), (true, true));
}

#[test]
fn a_scratch_serves_many_templates_and_recovers_from_errors() {
    let mut scratch = Scratch::default();
    let entry = Entry::new(&[("a", "b.c"), ("re", "[a-z]")], "");
    let good = "{{regexReplaceAll .re .a `x`}} {{toDateInZone `2006` `Asia/Tokyo` `2024`}}";
    for _ in 0..3 {
        assert_eq!(outcome(good, &entry, &mut scratch), "=> x.x 2024-01-01 00:00:00 +0900 JST");
        assert!(outcome("{{repeat 9000000 `x`}}", &entry, &mut scratch).starts_with("!! "));
        assert_eq!(outcome("{{range $i, $x := fromJson `[1,2]`}}{{$i}}{{end}}", &entry, &mut scratch), "=> 01");
    }
}

#[test]
fn templates_can_be_shared_between_threads() {
    fn assert_shareable<T: Send + Sync>() {}
    fn assert_movable<T: Send>() {}
    assert_shareable::<Template>();
    assert_movable::<Scratch>();
}

/// Pieces that random templates are made of.
const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{- ",
    " -}}",
    "(",
    ")",
    " | ",
    " ",
    ".",
    "$",
    "$x",
    " := ",
    " = ",
    ",",
    "\"",
    "`",
    "'a'",
    "\n",
    "é",
    "text",
    ".a",
    ".j",
    "nil",
    "true",
    "0",
    "-1",
    "1.5",
    "1i",
    "99999999999",
    "\"a\"",
    "`[1,{\"a\":null}]`",
    "`%v%5d`",
    "{{if ",
    "{{else}}",
    "{{else if ",
    "{{end}}",
    "{{range ",
    "{{with ",
    "{{define `t`}}",
    "{{template `t` ",
    "{{break}}",
    "{{block `b` ",
    "range $i, $e := ",
    "upper ",
    "trunc ",
    "substr ",
    "repeat ",
    "indent ",
    "alignLeft ",
    "printf ",
    "print ",
    "index ",
    "slice ",
    "len ",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "not ",
    "add ",
    "div ",
    "addf ",
    "divf ",
    "round ",
    "int ",
    "float64 ",
    "fromJson ",
    "date ",
    "toDate ",
    "toDateInZone ",
    "unixToTime ",
    "__timestamp__",
    ".Format ",
    ".AddDate ",
    ".Add ",
    ".Truncate ",
    "__line__",
    "now",
    "regexReplaceAll ",
    "count ",
    "default ",
    "html ",
    "js ",
    "b64dec ",
    "urldecode ",
    "title ",
    "Replace ",
    "bytes ",
    "duration ",
    "call ",
    "trimAll ",
    "nindent ",
];

fn random_template() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

/// A single action, more often valid than [`random_template`].
fn random_action() -> impl Strategy<Value = String> {
    let operand = prop::sample::select(vec![
        ".a",
        ".j",
        ".",
        "$",
        "nil",
        "0",
        "3",
        "-7",
        "1.5",
        "9223372036854775807",
        "\"\"",
        "\"x y\"",
        "`%[2]*.3d|%-8q`",
        "`[1,2]`",
        "(fromJson .j)",
        "(fromJson .j).m",
        "__timestamp__",
        "__timestamp__.Month",
        "__line__",
        "(add 1 2)",
        "`2006-01-02T15:04:05.000Z07:00 Mon Jan _2 MST 002`",
        "`(a)|b`",
        "`$1${x}`",
        "`Europe/Berlin`",
    ]);
    let words: Vec<&str> = PIECES.iter().copied().filter(|piece| piece.ends_with(' ') && piece.len() > 3).collect();
    let command = (prop::sample::select(words), prop::collection::vec(operand, 0..4))
        .prop_map(|(word, operands)| format!("{word}{}", operands.join(" ")));
    prop::collection::vec(command, 1..4).prop_map(|commands| format!("{{{{{}}}}}", commands.join(" | ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_template_panics(text in prop_oneof![random_template(), random_action(), any::<String>()], line: Vec<u8>) {
        let mut entry = Entry::new(&[("a", "l1é\nl2"), ("j", r#"{"m":{"k":[1,"é",null]}}"#)], "");
        entry.line = line;
        if let Ok(template) = Template::parse("line", &text) {
            let _ = template.references();
            let _ = template.execute(&entry, &mut Vec::new(), &mut Scratch::default());
        }
    }

    #[test]
    fn copying_gives_what_evaluation_gives(a in ".*", line: Vec<u8>) {
        let mut entry = Entry::new(&[("a", &a)], "");
        entry.line = line;
        let mut scratch = Scratch::default();
        let mut execute = |text: &str| {
            let template = Template::parse("line", text).expect("a valid template");
            let mut out = Vec::new();
            template.execute(&entry, &mut out, &mut scratch).expect("a result");
            (out, template.segments().is_some())
        };
        let (copied, copies) = execute("<{{.a}}|{{__line__}}|{{.b}}>");
        let (evaluated, evaluates) = execute("<{{($.a)}}|{{(__line__)}}|{{(.b)}}>");
        prop_assert_eq!(copied, evaluated);
        prop_assert!(copies && !evaluates);
    }
}
