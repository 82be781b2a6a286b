//! Subcommands, run as the program runs them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use loki_core::Timestamp;
use loki_server::tools::{Tool, ToolError, ToolIo, Verdict, run};
use loki_server::{Config, ServerOptions};
use loki_store::ManualClock;
use parking_lot::Mutex;
use serde_json::Value;

use crate::support::{TestServer, streams};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).expect("UTF-8")
    }
}

/// What a subcommand came to, and what it wrote to stdout and stderr.
fn tool(words: &[&str]) -> (Result<Verdict, ToolError>, String, String) {
    let (out, err) = (Shared::default(), Shared::default());
    let io = ToolIo {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        is_terminal: false,
        clock: Arc::new(ManualClock::new(Timestamp::from_seconds(1_000))),
    };
    let (name, words) = words.split_first().expect("a name");
    let tool = Tool::named(name).expect("a tool");
    let verdict = run(tool, words.iter().map(|word| (*word).to_owned()), io);
    (verdict, out.text(), err.text())
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// A configuration file of a server, and what the server had when it stopped: a flushed segment and an unflushed push.
fn stopped_server(folder: &Path) -> PathBuf {
    let file = folder.join("loki.yaml");
    let data = folder.join("data");
    let yaml = format!(
        "auth_enabled: false\nloki_store: {{data_folder: {}}}\nserver: {{http_listen_port: 0, http_listen_address: 127.0.0.1}}\n\
         limits_config: {{discover_service_name: [], discover_log_levels: false, reject_old_samples: false}}\n",
        data.display()
    );
    std::fs::write(&file, &yaml).expect("writable");
    block_on(async {
        let server = TestServer::with(ServerOptions::new(Config::from_yaml(&yaml).expect("valid"))).await;
        push(&server, 1).await;
        server.app().store().flush().await.expect("writable");
        push(&server, 2).await;
    });
    file
}

async fn push(server: &TestServer, second: i64) {
    let body = streams(&[(r#"{"app":"a"}"#, vec![(second, format!("n={second}"))])]);
    assert_eq!(server.push(body).await.status, 204);
}

#[test]
fn a_store_is_looked_at_checked_copied_and_exported() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("-config.file={}", stopped_server(folder.path()).display());
    let data = folder.path().join("data").display().to_string();

    let (verdict, text, progress) = tool(&["inspect", "-streams", &config]);
    assert_eq!(verdict.expect("readable"), Verdict::Clean);
    assert!(text.starts_with("manifest 0: 1 segments, 1 entries,") && text.contains(r#"{app="a"}"#), "{text}");
    assert!(progress.starts_with("reading: "), "{progress}");
    let (_, json, _) = tool(&["inspect", "-json", "-quiet", &data]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["tenants"][0]["tenant"], &json["log"]["records"]), (&"fake".into(), &1.into()));

    let (verdict, text, _) = tool(&["verify", "-deep", &data]);
    assert_eq!(verdict.expect("readable"), Verdict::Clean, "{text}");

    let (copy, back) = (folder.path().join("copy"), folder.path().join("back"));
    let (copy, back) = (copy.to_str().expect("UTF-8"), back.to_str().expect("UTF-8"));
    assert_eq!(tool(&["backup", &config, copy]).0.expect("copied"), Verdict::Clean);
    assert_eq!(tool(&["restore", copy, back]).0.expect("copied"), Verdict::Clean);

    let (verdict, lines, report) = tool(&["export", &config, "-query", r#"{app="a"}"#, back]);
    assert_eq!(verdict.expect("readable"), Verdict::Clean);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["line"].as_str()).collect::<Vec<_>>(), [Some("n=1"), Some("n=2")]);
    assert!(report.ends_with("exported 2 entries, 6 B of lines\n"), "{report}");
}

#[test]
fn bodies_that_are_exported_can_be_pushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = stopped_server(folder.path());
    let bodies = folder.path().join("bodies");
    let output = format!("-output={}", bodies.display());
    let place = file.to_str().expect("UTF-8");
    let config = format!("-config.file={place}");
    let (verdict, text, _) = tool(&["export", &config, "-format=push", "-from=2", &output, place]);
    assert_eq!((verdict.expect("readable"), text.as_str()), (Verdict::Clean, ""));
    block_on(async {
        let server = TestServer::bare().await;
        for body in std::fs::read_to_string(&bodies).expect("written").lines() {
            assert_eq!(server.push(body.to_owned()).await.status, 204);
        }
        assert_eq!(server.series("fake").await.len(), 1);
    });
}

#[test]
fn damage_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    stopped_server(folder.path());
    let data = folder.path().join("data");
    let writer = std::fs::read_dir(data.join("w")).expect("flushed").next().expect("a writer").expect("readable");
    let segment = writer.path().join("00000000000000000000.seg");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).expect("writable");
    let place = data.to_str().expect("UTF-8");
    let (verdict, text, _) = tool(&["verify", place]);
    assert_eq!(verdict.expect("readable"), Verdict::Findings);
    assert!(text.contains("finding: w/"), "{text}");
}

#[test]
fn a_lost_manifest_is_made_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = stopped_server(folder.path());
    let config = format!("-config.file={}", config.display());
    let (verdict, text, _) = tool(&["repair", "-rebuild-manifest", &config]);
    assert_eq!(verdict.expect("repaired"), Verdict::Clean);
    assert!(text.ends_with("B\n") && text.contains("manifest 1 names 1 segments, 1 entries"), "{text}");
    let again = tool(&["repair", "-rebuild-manifest", &config]).0.expect_err("nothing to repair");
    assert!(again.to_string().contains("nothing to repair"), "{again}");
}

#[test]
fn mistakes_are_explained() {
    let cases: [(&[&str], &str); 5] = [
        (&["backup"], "usage: loki-server backup [flags] [PLACE] TARGET"),
        (&["repair", "x"], "usage: loki-server repair -rebuild-manifest [flags] [PLACE]"),
        (&["verify", "-deap"], "flag provided but not defined: -deap"),
        (&["export", "-format=xml", "."], r#"invalid value "xml" for -format: must be ndjson or push"#),
        (
            &["export", "-from=noon", "."],
            r#"invalid value "noon" for -from: must be seconds or nanoseconds since 1970, or RFC 3339"#,
        ),
    ];
    for (words, expected) in cases {
        assert_eq!(tool(words).0.expect_err("a mistake").to_string(), expected);
    }
    let (verdict, help, _) = tool(&["verify", "-help"]);
    assert_eq!(verdict.expect("help"), Verdict::Clean);
    assert!(help.starts_with("Usage: loki-server verify [flags] [PLACE]\n"), "{help}");
}
