//! Answers about labels, streams and their sizes.

use loki_core::Labels;
use loki_store::IndexStats;

use super::{write_display, write_labels, write_list, write_string};

/// Names or values; `data` is absent when there are none.
pub(crate) fn write_names(names: &[String]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + names.len() * 16);
    out.extend_from_slice(br#"{"status":"success""#);
    if !names.is_empty() {
        out.extend_from_slice(br#","data":["#);
        write_list(&mut out, names, |out, name| write_string(out, name.as_bytes()));
        out.push(b']');
    }
    out.extend_from_slice(b"}\n");
    out
}

/// Label sets of streams.
pub(crate) fn write_series_list<'a>(series: impl IntoIterator<Item = &'a Labels>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"status":"success","data":["#);
    write_list(&mut out, series, write_labels);
    out.extend_from_slice(b"]}\n");
    out
}

/// The object of `index/stats`.
pub(crate) fn write_sizes(out: &mut Vec<u8>, stats: &IndexStats) {
    let IndexStats { streams, chunks, bytes, entries } = stats;
    write_display(
        out,
        format_args!(r#"{{"streams":{streams},"chunks":{chunks},"bytes":{bytes},"entries":{entries}}}"#),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_as_no_data() {
        assert_eq!(write_names(&[]), b"{\"status\":\"success\"}\n");
        assert_eq!(write_names(&["a".to_owned()]), b"{\"status\":\"success\",\"data\":[\"a\"]}\n");
        assert_eq!(write_series_list([]), b"{\"status\":\"success\",\"data\":[]}\n");
    }

    #[test]
    fn sizes_are_an_object_of_numbers() {
        let mut out = Vec::new();
        write_sizes(&mut out, &IndexStats { streams: 1, chunks: 2, bytes: 3, entries: 4 });
        assert_eq!(out, br#"{"streams":1,"chunks":2,"bytes":3,"entries":4}"#);
    }
}
