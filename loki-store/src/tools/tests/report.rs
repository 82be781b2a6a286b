//! What `inspect` says of a small store.

use std::fmt::Write;

use super::*;

/// The same text with every UUID replaced by its place among those that are different.
fn without_ids(text: &str) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some(found) = rest.char_indices().map(|(i, _)| i).find(|i| is_uuid(&rest[*i..])) {
        out.push_str(&rest[..found]);
        let id = &rest[found..found + 36];
        let place = seen.iter().position(|other| other == id).unwrap_or_else(|| {
            seen.push(id.to_owned());
            seen.len() - 1
        });
        write!(out, "{:<36}", format!("<id {place}>")).unwrap();
        rest = &rest[found + 36..];
    }
    out + rest
}

fn is_uuid(text: &str) -> bool {
    text.get(..36).is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_store_is_listed() {
    let bench = Bench::populated().await;
    let limits = Arc::new(Limits { retention_period: Duration::from_hours(48), ..Limits::unlimited() });
    let options = InspectOptions {
        streams: true,
        limits: Some(Arc::new(move |_: &TenantId| Arc::clone(&limits))),
        ..InspectOptions::default()
    };
    let report = inspect(&bench.site(), &options, &Quiet).await.unwrap();
    let golden = include_str!("inspect.txt");
    assert_eq!(without_ids(&report.to_string()), golden, "{}", without_ids(&report.to_string()));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["segments"][0]["first"], "2024-07-01T10:00:00Z");
    assert_eq!(json["tenants"][1]["entries"], 180);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_without_a_store_is_told_from_an_empty_store() {
    let bench = Bench::new();
    let empty = site(bench.folder.path());
    let report = inspect(&empty, &InspectOptions::default(), &Quiet).await.unwrap();
    assert_eq!(report.problems, ["there is no store here"]);
    assert!(!verify(&empty, VerifyOptions::default(), &Quiet).await.unwrap().is_clean());
    drop(bench.open().await);
    let report = inspect(&bench.site(), &InspectOptions::default(), &Quiet).await.unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert!(verify(&bench.site(), VerifyOptions::default(), &Quiet).await.unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_add_up() {
    let bench = Bench::populated().await;
    let options = InspectOptions { streams: true, ..InspectOptions::default() };
    let report = inspect(&bench.site(), &options, &Quiet).await.unwrap();
    for segment in &report.segments {
        let sections: u64 = segment.sections.iter().map(|section| section.bytes).sum();
        let columns: u64 = segment.columns.iter().map(|column| column.stored_bytes).sum();
        assert_eq!(sections + columns, segment.bytes, "{segment:?}");
        let file = std::fs::metadata(bench.folder().join(&segment.path)).unwrap();
        assert_eq!(file.len(), segment.bytes);
    }
    let chunks: u64 = report.columns.iter().map(|column| column.stored_bytes).sum();
    let streams: u64 = report.streams.iter().map(|stream| stream.stored_bytes).sum();
    assert!(chunks.abs_diff(streams) <= report.streams.len() as u64, "{chunks} {streams}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chunks_of_one_segment_are_listed() {
    let bench = Bench::populated().await;
    let all = inspect(&bench.site(), &InspectOptions::default(), &Quiet).await.unwrap();
    let segment = &all.segments[0];
    let options = InspectOptions { segment: Some(segment.id.clone()), ..InspectOptions::default() };
    let report = inspect(&bench.site(), &options, &Quiet).await.unwrap();
    assert_eq!(report.chunks.len() as u64, segment.chunks);
    assert_eq!(report.chunks.iter().map(|chunk| chunk.entries).sum::<u64>(), segment.entries);
    assert_eq!(report.chunks[0].offset, crate::segment::layout::HEADER_LEN as u64);
    let text = report.to_string();
    assert!(text.contains(&format!("\nColumns of {}\n", segment.id)) && text.contains("\nChunks\n"), "{text}");
    let options = InspectOptions { segment: Some("nonsense".to_owned()), ..InspectOptions::default() };
    let report = inspect(&bench.site(), &options, &Quiet).await.unwrap();
    assert_eq!(report.problems, ["there is no live segment nonsense that can be read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_changes_nothing_and_needs_no_lock() {
    let bench = Bench::populated().await;
    let store = bench.open().await;
    let content = || files(&bench.folder(), "").into_iter().map(|file| (std::fs::read(&file).unwrap(), file));
    let before: Vec<_> = content().collect();
    inspect(&bench.site(), &InspectOptions::default(), &Quiet).await.unwrap();
    let report = verify(&bench.site(), VerifyOptions { deep: true }, &Quiet).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(content().eq(before));
    drop(store);
}
