//! What queries are refused for, in the words that clients match.

use crate::support::{TestServer, escaped, request, streams};

/// Streams `{app="a"}` and `{app="b"}` with an entry at each of the seconds 1, 2 and 3.
async fn stocked(limits: &str) -> TestServer {
    let yaml = format!(
        "auth_enabled: false\nlimits_config: {{discover_service_name: [], discover_log_levels: false{limits}}}\n"
    );
    let server = TestServer::configured(&yaml).await;
    let entries = |app: &str| (1..=3).map(|n| (n, format!("n={n} app={app}"))).collect::<Vec<_>>();
    let body = streams(&[(r#"{"app":"a"}"#, entries("a")), (r#"{"app":"b"}"#, entries("b"))]);
    assert_eq!(server.push(body).await.status, 204);
    server
}

/// Asks each of the questions, which are a path, a query and further parameters, for an answer of 400 with a text.
async fn assert_refused(server: &TestServer, cases: &[(&str, &str, &str, &str)]) {
    for (path, query, rest, text) in cases {
        let uri = format!("/loki/api/v1/{path}?query={}{rest}", escaped(query));
        let answer = server.ask("GET", &uri).await;
        assert_eq!(answer.outcome(), (400, (*text).to_owned()), "{uri}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8", "{uri}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{uri}");
    }
}

#[tokio::test]
async fn queries_that_cannot_be_understood_are_refused() {
    let server = stocked("").await;
    let log = r#"{app="a"}"#;
    let range = "&start=0&end=10";
    assert_refused(
        &server,
        &[
            ("query_range", "{", range, "parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }"),
            ("query_range", r#"{app=~".*"}"#, range, "parse error : queries require at least one regexp or equality matcher that does not have an empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will"),
            ("labels", r#"{app="a"} |= "x""#, range, "only label matchers are supported"),
            ("query", log, "", "log queries are not supported as an instant query type, please change your query to a range query type"),
            ("query_range", log, "&start=10&end=9", "end timestamp must not be before or equal to start time"),
            ("query_range", log, "&start=0&end=10&step=-1", "zero or negative query resolution step widths are not accepted. Try a positive integer"),
            ("query_range", log, "&start=0&end=11001&step=1", "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"),
            ("query_range", log, "&start=0&end=10&limit=-1", "limit must be a positive value"),
            ("query_range", log, "&start=0&end=10&direction=sideways", "invalid direction 'sideways'"),
            ("query", r#"sum(count_over_time({app="a"}[5s])) of (count_over_time({app="a"}[5s]))"#, "&time=4", "parse error at line 1, col 37: syntax error: unexpected of"),
        ],
    )
    .await;
    for name in ["start", "end", "since"] {
        let answer =
            server.ask("GET", &format!("/loki/api/v1/query_range?query={}&{name}=yesterday", escaped(log))).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().starts_with(&format!("could not parse '{name}' parameter: ")), "{}", answer.text());
    }
    let too_long = format!("{{app=\"{}\"}}", "x".repeat(200_000));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("query={}", escaped(&too_long));
    let answer = server.send(request("POST", "/loki/api/v1/query_range", &form, body)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("input size too long"), "{}", answer.text());
}

#[tokio::test]
async fn queries_beyond_the_limits_are_refused() {
    let server = stocked(
        ", max_query_length: 1h, max_query_range: 10s, max_entries_limit_per_query: 5, max_query_series: 1, \
         max_streams_matchers_per_query: 2, minimum_labels_number: 2, required_labels: [app]",
    )
    .await;
    let two = r#"{app=~".+",x!="y"}"#;
    assert_refused(
        &server,
        &[
            ("query_range", two, "&start=0&end=7200&step=60&limit=5", "the query time range exceeds the limit (query length: 2h0m0s, limit: 1h)"),
            ("query", r#"count_over_time({app=~".+",x!="y"}[20s])"#, "&time=4", "[interval] value exceeds limit: [20s] > [10s]"),
            ("query_range", two, "&start=0&end=10&limit=6", "max entries limit per query exceeded, limit > max_entries_limit_per_query (6 > 5)"),
            ("query", r#"count_over_time({app=~".+",x!="y"}[5s])"#, "&time=4", "maximum number of series (1) reached for a single query; consider reducing query cardinality by adding more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()"),
            ("query_range", r#"{app="a",x!="y",z!="y"}"#, "&start=0&end=10&limit=5", "max streams matchers per query exceeded, matchers-count > limit (3 > 2)"),
            ("query_range", r#"{app="a"}"#, "&start=0&end=10&limit=5", "stream selector has less label matchers than required: (present: [app], number_present: 1, required_number_label_matchers: 2)"),
            ("query_range", r#"{y="a",z="b"}"#, "&start=0&end=10&limit=5", "stream selector is missing required matchers [app], labels present in the query were [y, z]"),
        ],
    )
    .await;
}

#[tokio::test]
async fn errors_of_pipelines_do_not_become_samples() {
    let server = stocked("").await;
    let query = escaped(r#"sum(sum_over_time({app="a"} | logfmt | unwrap app_extracted [10s]))"#);
    let answer = server.ask("GET", &format!("/loki/api/v1/query?time=4&query={query}")).await;
    assert_eq!(answer.status, 400);
    let text = answer.text();
    assert!(text.starts_with("pipeline error: 'SampleExtractionErr' for series: '{"), "{text}");
    assert!(text.contains("__error__"), "{text}");
    let variants = escaped(r#"variants(count_over_time({app="a"}[5s])) of ({app="a"}[5s])"#);
    let answer = server.ask("GET", &format!("/loki/api/v1/query?time=4&query={variants}")).await;
    assert_eq!(answer.outcome(), (400, "multi variant queries are disabled for this instance".to_owned()));
}
